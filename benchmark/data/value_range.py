"""``value_range`` of a folder: which value is black and which white in files with more than 8 bits per sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer

from benchmark.fields import Frozen

Frames: TypeAlias = Literal["refuse", "first"]
"""Treatment of files with several images: refused, or only the first one is read; see
`benchmark.data.decoding.pixels.read_file`."""

Window: TypeAlias = tuple[float, float]
"""The value that becomes black, 0, and the one that becomes white, 255."""

MOST_BITS = 32

_WAYS = "auto, container, {bits: N}, [LOW, HIGH] or {percentile: [LOW, HIGH]}"


class Bits(Frozen):
    """Values from 0 to 2^bits - 1."""

    bits: int


class Percentile(Frozen):
    """Two percentiles of all values in the files of a container."""

    percentile: Window


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_ascending(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]


def _read(value: Any) -> Any:
    """Return a value as one of the types below; one message is clearer than one per type."""
    match value:
        case "auto" | "container" | Bits() | Percentile():
            return value
        case {"bits": bits, **rest} if not rest:
            if type(bits) is int and 1 <= bits <= MOST_BITS:
                return Bits(bits=bits)
            raise ValueError(f"bits: {bits!r} is not a whole number from 1 to {MOST_BITS}")
        case {"percentile": percents, **rest} if not rest:
            if _is_ascending(percents) and percents[0] >= 0 and percents[1] <= 100:
                return Percentile(percentile=(percents[0], percents[1]))
            raise ValueError(f"percentile: {percents!r} is not a pair of ascending numbers from 0 to 100, e.g. [1, 99]")
        case list() | tuple():
            if _is_ascending(value):
                return tuple(value)
            raise ValueError(f"{list(value)!r} is not a pair of ascending numbers, the black value and the white one")
    raise ValueError(f"{value!r} is not {_WAYS}")


ValueRange: TypeAlias = Annotated[
    Literal["auto", "container"] | Bits | Percentile | Window,
    BeforeValidator(_read),
]
"""``auto``: from what the files state and contain, see `benchmark.data.decoding.window`; ``container``: all values that
the files' type can hold; the others say which values are black and white."""


def _as_items(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


Windows: TypeAlias = Annotated[
    tuple[tuple[str, Annotated[Window, Field(strict=False)]], ...],
    BeforeValidator(_as_items),
    PlainSerializer(lambda items: {container: list(window) for container, window in items}),
]
"""The window of each container: a mapping in files, a tuple here, so that it is hashable."""


class Reading(NamedTuple):
    """The way from a dataset's files to pixels: arguments of `pixels.read_file` and `pixels.to_image`."""

    windows: Mapping[str, Window]
    """Container -> window."""
    clip: bool = False
    """Whether values outside of a window are to be clipped."""
    frames: Frames = "refuse"


def clips(value_range: ValueRange) -> bool:
    """Return whether values above the window are expected: the window is a choice, and not the values' range."""
    return isinstance(value_range, (Percentile, tuple))


def in_words(window: Iterable[float]) -> str:
    """Return a window as ``LOW to HIGH``, whole numbers without a decimal point."""
    low, high = (number(value) for value in window)
    return f"{low} to {high}"


def number(value: float) -> str:
    """Return a pixel's value as text: whole numbers without a decimal point."""
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
