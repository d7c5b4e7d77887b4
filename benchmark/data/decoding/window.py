"""Windows: which value is black and which white in a folder's files with more than 8 bits per sample, by container.

A container of 16 bits says little about the values in it: cameras with 10, 12 and 14 bits write such files, and 12 bits
would become 17 of 256 grey levels if 65535 were white. Under ``auto`` a window comes from what the files state,
otherwise from the values of all images outside an official test split; what can be read in two ways is refused. The
window is the same for all files of a container, so that differences in brightness between images are kept.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SplitName
from benchmark.data.value_range import Bits, Percentile, ValueRange, Window, in_words, number
from benchmark.errors import UserError
from benchmark.words import listed

EIGHT_BITS = "8-bit"
"""The container of files with at most 8 bits per sample, whose window is always 0 to 255."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits per sample of cameras and scanners."""

USUAL = 0.999
"""Quantile of the values that must need as many bits as the largest value, which may otherwise be a hot pixel or a
burnt-in mark."""

FEWEST_LEVELS = 64
"""Minimum number of grey levels that must be left of at least as many values."""

_SIGNIFICANT = 16  # bits of a value that a pool keeps: 16-bit values are exact, others within a factor of 1 ± 2^-16
_MERGED = 1 << 20  # maximum number of values of single files that wait to be merged


@dataclass(frozen=True)
class Values:
    """Facts about the values of one file that its window depends on.

    Attributes:
        id: id of the image.
        label: name of its class.
        split: the official split, or None; values of the test split do not affect a window.
        container: `EIGHT_BITS`, or `pixels.Deep.container`.
        holds, stated: `pixels.Deep.holds`, `pixels.Deep.stated`.
        low, high: smallest and largest value.
    """

    id: str
    label: str
    split: SplitName | None
    container: str
    holds: Window | None = (0, 255)
    stated: Window | None = None
    low: float = 0
    high: float = 255

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of its class and split, whose values must be alike; without the class in a test split."""
        split = [] if self.split is None else [f"the {self.split} split"]
        return *([] if self.split == "test" else [f"class {self.label}"]), *split


@dataclass(frozen=True)
class Pool:
    """Frequencies of values, in one file or in many.

    Attributes:
        values: float64, shape (n,), ascending, rounded to 16 significant bits.
        counts: int64, shape (n,), all positive.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """Return the smallest value that at least a share of all values does not exceed."""
        below = np.cumsum(self.counts)
        return float(self.values[np.searchsorted(below, share * below[-1])])


def count(values: NDArray[np.generic]) -> Pool:
    """Return the pool of an array of finite numbers of any shape, in little memory."""
    parts = [_count(part) for part in np.array_split(values.ravel(), -(-values.size // _MERGED))]
    return merge(parts)


def _count(values: NDArray[np.generic]) -> Pool:
    if values.dtype in (np.uint16, np.int16):  # thirty times faster
        least = int(values.min())
        frequencies = np.bincount(values.astype(np.int64) - least)
        places = np.flatnonzero(frequencies)
        return Pool((places + least).astype(np.float64), frequencies[places].astype(np.int64))
    mantissas, exponents = np.frexp(values.astype(np.float64))
    rounded = np.ldexp(np.rint(np.ldexp(mantissas, _SIGNIFICANT)), exponents - _SIGNIFICANT)
    found, counts = np.unique(rounded, return_counts=True)
    return Pool(found, counts.astype(np.int64))


def merge(pools: Sequence[Pool]) -> Pool:
    """Merge one or more pools."""
    values, places = np.unique(np.concatenate([pool.values for pool in pools]), return_inverse=True)
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, places, np.concatenate([pool.counts for pool in pools]))
    return Pool(values, counts)


def pack(pools: Mapping[str, Pool]) -> bytes:
    """Return pools as bytes, for `unpack`."""
    arrays = {f"{part} {name}": getattr(pool, part) for name, pool in pools.items() for part in ("values", "counts")}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, Pool]:
    """Return the pools of `pack`."""
    with np.load(io.BytesIO(packed)) as arrays:
        names = [name.removeprefix("values ") for name in arrays if name.startswith("values ")]
        return {name: Pool(arrays[f"values {name}"], arrays[f"counts {name}"]) for name in names}


@dataclass
class Pools:
    """The pool of each container, built file by file in little memory."""

    _waiting: dict[str, list[Pool]] = field(default_factory=dict)

    def add(self, container: str, pool: Pool) -> None:
        """Add the values of one file."""
        waiting = self._waiting.setdefault(container, [])
        waiting.append(pool)
        if len(waiting) > 2 and sum(len(pool.values) for pool in waiting[1:]) > _MERGED:
            waiting[:] = [merge(waiting)]

    def merged(self) -> dict[str, Pool]:
        """Return container -> pool."""
        return {container: merge(waiting) for container, waiting in self._waiting.items()}


def bits_of(value: float) -> int:
    """Return the smallest of `DEPTHS` that holds a value from 0 to 65535."""
    return next(bits for bits in DEPTHS if value < 2**bits)


def levels(pool: Pool, window: Window) -> int:
    """Return how many of the 256 grey levels a window makes of a pool's values."""
    low, high = window
    return len(np.unique(np.rint(np.clip((pool.values - low) * 255 / (high - low), 0, 255))))


def describe(windows: Mapping[str, Window], pools: Mapping[str, Pool]) -> list[str]:
    """Return one line per window: its values, and how many grey levels it makes of the pool's values."""
    return [
        f"{container} files: {number(window[0])} is black, {number(window[1])} is white"
        + (f"; {levels(pools[container], window)} of 256 grey levels are used" if container in pools else "")
        for container, window in sorted(windows.items())
    ]


def find_windows(
    files: Sequence[Values], pools: Mapping[str, Pool], value_range: ValueRange, source: str
) -> dict[str, Window]:
    """Return the window of each container except `EIGHT_BITS`.

    Args:
        files: all files of a folder that can be decoded.
        pools: container -> values of the files outside a test split.
        value_range: value in the folder's entry.
        source: ``folder:PATH``, for messages.

    Raises:
        UserError: the values can be read in two ways, or the files do not state their meaning; the message names the
            readings and the value of ``value_range`` for each.
    """
    if value_range == "auto":
        _refuse_containers(files, source)
    by_container: dict[str, list[Values]] = {}
    for file in files:
        if file.container != EIGHT_BITS:
            by_container.setdefault(file.container, []).append(file)
    found = {}
    for container, members in sorted(by_container.items()):
        case = _Case(container, members, pools.get(container), source)
        found[container] = window = case.window(value_range)
        case.refuse_lost_levels(window, fewest=FEWEST_LEVELS if value_range == "auto" else 2)
    return found


def own_ranges(files: Sequence[Values]) -> dict[str, Window]:
    """Return the smallest and the largest value in each container except `EIGHT_BITS`."""
    found: dict[str, Window] = {}
    for file in files:
        if file.container != EIGHT_BITS:
            low, high = found.get(file.container, (file.low, file.low + 1))
            found[file.container] = min(low, file.low), max(high, file.high)
    return found


def _refuse_containers(files: Sequence[Values], source: str) -> None:
    """Refuse two classes or splits without a common type of file, whose values may not be comparable."""
    of_group: dict[str, set[str]] = {}
    for file in files:
        for group in file.groups:
            of_group.setdefault(group, set()).add(file.container)
    for (first, own), (second, other) in itertools.combinations(sorted(of_group.items()), 2):
        if not own & other:
            raise UserError(
                f"{source}: the files of {first} are {listed(sorted(own))}, those of {second} are "
                f"{listed(sorted(other))}: their values may not be comparable, and the type may reveal the class. "
                "Convert all images to one type; or, if they are comparable, "
                f"say which value is white in files with more than 8 bits: {_ask('{bits: 12}', 'container')}."
            )


@dataclass(frozen=True)
class _Case:
    """The files of one container, and the reasons to refuse them."""

    container: str
    files: Sequence[Values]
    pool: Pool | None
    source: str

    @property
    def low(self) -> Values:
        return min(self.files, key=lambda file: file.low)

    @property
    def high(self) -> Values:
        return max(self.files, key=lambda file: file.high)

    def refuse(self, what: str, *ways: str) -> UserError:
        return UserError(f"{self.source}: {self.container} files: {what}. Say which values are meant: {_ask(*ways)}.")

    @property
    def own_range(self) -> str:
        """The values that occur, as a pair for ``value_range``."""
        return _as_pair((self.low.low, self.high.high))

    def window(self, value_range: ValueRange) -> Window:
        match value_range:
            case "auto":
                return self._auto()
            case "container":
                held = {file.holds: file for file in self.files}
                if None in held:
                    raise self.refuse("their type has no fixed range", self.own_range, "{percentile: [1, 99]}")
                return self._only(held, "their types hold")
            case Bits(bits=bits):
                if self.low.low < 0:
                    half = 2 ** (bits - 1)
                    what = f"{bits} bits can start at 0 or at {-half}, but {self.low.id} has values below 0"
                    raise self.refuse(what, _as_pair((0, 2 * half - 1)), _as_pair((-half, half - 1)))
                return 0, 2**bits - 1
            case Percentile(percentile=(low, high)):
                if self.pool is None:
                    raise self.refuse("all are in the test split, which must not affect a window", self.own_range)
                window = self.pool.quantile(low / 100), self.pool.quantile(high / 100)
                if not window[0] < window[1]:
                    what = f"the percentiles {low:g} and {high:g} of their values are the same, {number(window[0])}"
                    raise self.refuse(what, self.own_range)
                return window
        return value_range

    def _only(self, ranges: Mapping[Window | None, Values], verb: str) -> Window:
        """Return the range that all files share; each is given with a file that has it."""
        known = sorted(window for window in ranges if window is not None)
        if len(known) > 1:
            first, second = (f"{in_words(window)} ({ranges[window].id})" for window in known[:2])
            widest = _as_pair((min(low for low, _ in known), max(high for _, high in known)))
            what = f"{verb} different ranges of values, {first} and {second}"
            raise self.refuse(what, widest, "{percentile: [1, 99]}")
        return known[0]

    def _auto(self) -> Window:
        stated = {file.stated: file for file in reversed(self.files)}
        without = stated.pop(None, None)
        if not stated:
            return self._by_values()
        window = self._only(stated, "they state")
        if without is not None and self._by_values() != window:
            what = (
                f"{stated[window].id} states values of {in_words(window)}, {without.id} states none, and all files "
                f"together need {in_words(self._by_values())}"
            )
            raise self.refuse(what, _as_pair(window), _as_pair(self._by_values()))
        return window

    def _by_values(self) -> Window:
        """Return the window that the pooled values need: from 0 to the largest value with their number of bits."""
        if self.pool is None:
            raise self.refuse("all are in the test split, which must not decide what is white", self.own_range)
        values = self.pool.values
        are_counts = values[0] >= 0 and values[-1] <= 65535 and (values == np.rint(values)).all()
        if not (self.container in ("16-bit", "dicom") and self._starts_at_zero and are_counts):
            what = (
                f"values from {number(self.low.low)} ({self.low.id}) to {number(self.high.high)} ({self.high.id}) "
                "without a stated range have no defined black and white"
            )
            is_share = self.container == "float" and self.low.low >= 0 and self.high.high <= 1
            likely = ["[0, 1]"] if is_share else [_as_bits(values[-1])] if are_counts and self.low.low >= 0 else []
            raise self.refuse(what, *likely, self.own_range, "{percentile: [1, 99]}")
        bits = bits_of(values[-1])
        step = int(np.gcd.reduce(values.astype(np.int64)))
        if step and (step % 257 == 0 or (step % 2 == 0 and values[-1] >= 2**15)):
            return 0, 2**16 - 1  # fewer bits, scaled to 16 by the writer: times 257 = 65535 / 255, or 2^k
        usual = self.pool.quantile(USUAL)
        if bits_of(usual) < bits:
            what = (
                f"{100 * USUAL:g} % of their values need {bits_of(usual)} bits (up to {number(usual)}), but the "
                f"largest, {number(values[-1])} in {self._largest_pooled().id}, needs {bits}"
            )
            below = _as_pair((0, 2 ** bits_of(usual) - 1))
            raise self.refuse(what, _as_bits(usual), _as_bits(values[-1]), below)
        self._refuse_depths(values[-1])
        return 0, 2**bits - 1

    @property
    def _starts_at_zero(self) -> bool:
        """Whether no file can contain a value below 0."""
        return all(file.holds is not None and file.holds[0] == 0 for file in self.files)

    def _largest_pooled(self) -> Values:
        return max((file for file in self.files if file.split != "test"), key=lambda file: file.high)

    def _refuse_depths(self, most: float) -> None:
        """Refuse two classes, or two splits, that need different depths.

        Args:
            most: the largest value outside a test split; larger ones do not affect the depth.
        """
        largest: dict[str, float] = {}
        for file in self.files:
            for group in file.groups:
                largest[group] = max(min(file.high, most), largest.get(group, 0))
        shallow, deep = min(largest, key=largest.__getitem__), max(largest, key=largest.__getitem__)
        if bits_of(largest[shallow]) != bits_of(largest[deep]):
            what = (
                f"{shallow} needs {bits_of(largest[shallow])} bits (up to {number(largest[shallow])}) and {deep} "
                f"{bits_of(largest[deep])} (up to {number(largest[deep])}): either their images differ in brightness, "
                "or their files in depth; in that case, convert them to one depth"
            )
            raise self.refuse(what, _as_bits(largest[deep]), "container")

    def refuse_lost_levels(self, window: Window, fewest: int) -> None:
        """Refuse a window that leaves fewer than some number of grey levels of at least as many values."""
        if self.pool is None or len(self.pool.values) < fewest:
            return
        left = levels(self.pool, window)
        if left < fewest:
            what = (
                f"of their {len(self.pool.values)} values, from {number(self.pool.values[0])} to "
                f"{number(self.pool.values[-1])}, {left} grey level{'s' * (left != 1)} would be left in a window of "
                f"{in_words(window)}"
            )
            raise self.refuse(what, self.own_range, "{percentile: [1, 99]}", _as_pair(window))


def _as_pair(window: Window) -> str:
    return f"[{number(window[0])}, {number(window[1])}]"


def _as_bits(largest: float) -> str:
    return f"{{bits: {bits_of(largest)}}}"


def _ask(*ways: str) -> str:
    """Return the ways to select one of several readings."""
    values = listed([f"`value_range: {way}`" for way in dict.fromkeys(ways)], "or")
    return f"{values} in the entry of `datasets`, or --set 'datasets.value_range={ways[0]}'"
