"""The window of each container of a folder: which value of files with more than 8 bits a sample is black, which white.

A container of 16 bits says little about the values in it: cameras of 10, 12 and 14 bits write such files, and 12 bits
would become 17 of 256 grey levels if 65535 were white. Under ``auto`` a window comes from what the files state, else
from the values of all images that are not of a test split of their own; what can be read in two ways is refused. The
window is the same for all files of a container, so that an image's brightness says what it said before.
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
"""The container of files of at most 8 bits a sample, whose window is always 0 to 255."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits a sample of cameras and scanners."""

USUAL = 0.999
"""Share of the values that must need as many bits as the largest one: fewer are hot pixels, or burnt-in marks."""

FEWEST_LEVELS = 64
"""Grey levels that must be left of a source that has as many."""

_SIGNIFICANT = 16  # bits of a value that a pool keeps: all of a 16-bit one, others within 2^-16 of themselves
_MERGED = 1 << 20  # values of single files that wait to be merged


@dataclass(frozen=True)
class Values:
    """The values of one file, as far as its window needs them.

    Attributes:
        id: of the image.
        label: its class.
        split: the official one, or None; values of the test split decide no window.
        container: `EIGHT_BITS`, or `pixels.Deep.container`.
        holds, stated: `pixels.Deep.holds`, `pixels.Deep.stated`.
        low, high: its smallest and its largest value.
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
        """The parts of the folder that it belongs to, in words, which must be alike; no class of a test split."""
        split = [] if self.split is None else [f"the {self.split} split"]
        return *([] if self.split == "test" else [f"class {self.label}"]), *split


@dataclass(frozen=True)
class Pool:
    """Frequencies of values, in one file or in many.

    Attributes:
        values: float64, shape (n,), ascending, rounded to 16 significant bits.
        counts: int64, shape (n,), above 0.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """Return the smallest value that at least a share of all values do not exceed."""
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
    """Return the pool of all values of several, at least one."""
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
    """Return the pools that were packed."""
    with np.load(io.BytesIO(packed)) as arrays:
        names = [name.removeprefix("values ") for name in arrays if name.startswith("values ")]
        return {name: Pool(arrays[f"values {name}"], arrays[f"counts {name}"]) for name in names}


@dataclass
class Pools:
    """The pool of each container, added file by file in little memory."""

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
    """Return how many of the 256 grey levels a pool's values become in a window."""
    low, high = window
    return len(np.unique(np.rint(np.clip((pool.values - low) * 255 / (high - low), 0, 255))))


def describe(windows: Mapping[str, Window], pools: Mapping[str, Pool]) -> list[str]:
    """Return one line per window: its values, and how many grey levels the pool's values become."""
    return [
        f"{container} files: {number(window[0])} is black, {number(window[1])} is white"
        + (f"; {levels(pools[container], window)} of 256 grey levels are used" if container in pools else "")
        for container, window in sorted(windows.items())
    ]


def find_windows(
    files: Sequence[Values], pools: Mapping[str, Pool], value_range: ValueRange, source: str
) -> dict[str, Window]:
    """Return the window of each container but `EIGHT_BITS`.

    Args:
        files: all of a folder that can be decoded.
        pools: the values of those that are not of a test split, by container.
        value_range: of the folder's entry.
        source: ``folder:PATH``, for messages.

    Raises:
        UserError: the values can be read in two ways, or have no meaning that the files state; the message names the
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
    """Return the smallest and the largest value in each container but `EIGHT_BITS`."""
    found: dict[str, Window] = {}
    for file in files:
        if file.container != EIGHT_BITS:
            low, high = found.get(file.container, (file.low, file.low + 1))
            found[file.container] = min(low, file.low), max(high, file.high)
    return found


def _refuse_containers(files: Sequence[Values], source: str) -> None:
    """Raise UserError if two classes or splits have no type of file in common, and so perhaps no meaning of values."""
    of_group: dict[str, set[str]] = {}
    for file in files:
        for group in file.groups:
            of_group.setdefault(group, set()).add(file.container)
    for (first, own), (second, other) in itertools.combinations(sorted(of_group.items()), 2):
        if not own & other:
            raise UserError(
                f"{source}: the files of {first} are {listed(sorted(own))}, those of {second} "
                f"{listed(sorted(other))}: whether their values mean the same cannot be seen, and of classes the type "
                "would give them away. Bring all images into one type; or, if they are comparable, "
                f"say what is white in files of more than 8 bits: {_ask('{bits: 12}', 'container')}."
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
                    raise self.refuse("their type has no range of its own", self.own_range, "{percentile: [1, 99]}")
                return self._only(held, "their types hold")
            case Bits(bits=bits):
                if self.low.low < 0:
                    half = 2 ** (bits - 1)
                    what = f"{bits} bits can start at 0 or at {-half}, and {self.low.id} has values below 0"
                    raise self.refuse(what, _as_pair((0, 2 * half - 1)), _as_pair((-half, half - 1)))
                return 0, 2**bits - 1
            case Percentile(percentile=(low, high)):
                if self.pool is None:
                    raise self.refuse("all are of the test split, which may not decide", self.own_range)
                window = self.pool.quantile(low / 100), self.pool.quantile(high / 100)
                if not window[0] < window[1]:
                    what = f"{low:g} and {high:g} percent of their values are below the same value, {number(window[0])}"
                    raise self.refuse(what, self.own_range)
                return window
        return value_range

    def _only(self, ranges: Mapping[Window | None, Values], verb: str) -> Window:
        """Return the only one of some ranges, given with a file that has it."""
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
        """Return the window that the pooled values need: 0 and the largest value of so many bits."""
        if self.pool is None:
            raise self.refuse("all are of the test split, which may not decide what is white", self.own_range)
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
            return 0, 2**16 - 1  # fewer bits, brought to 16 by who wrote them: times 257 = 65535 / 255, or 2^k
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
        """Whether no file could hold a value below 0."""
        return all(file.holds is not None and file.holds[0] == 0 for file in self.files)

    def _largest_pooled(self) -> Values:
        return max((file for file in self.files if file.split != "test"), key=lambda file: file.high)

    def _refuse_depths(self, most: float) -> None:
        """Raise UserError if two classes, or two splits, need different depths.

        Args:
            most: the largest value that is not of a test split; what lies above it needs no depth.
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
                "or their files in depth; then bring them to one depth"
            )
            raise self.refuse(what, _as_bits(largest[deep]), "container")

    def refuse_lost_levels(self, window: Window, fewest: int) -> None:
        """Raise UserError if fewer than some grey levels are left of values that are as many."""
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
    """Return how to say which of several readings is meant."""
    values = listed([f"`value_range: {way}`" for way in dict.fromkeys(ways)], "or")
    return f"{values} in the entry of `datasets`, or --set 'datasets.value_range={ways[0]}'"
