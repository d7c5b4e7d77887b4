"""Names of any script in figures: with the installed fonts, escaped where these lack a character, and short."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

FAMILY = "DejaVu Sans"
"""Font of the figures, which comes with Matplotlib."""

_ELLIPSIS = "…"
_TRIED = 64  # letters of a font, of which one with an outline shows that it has any

Data = TypeVar("Data")


def legible(data: Data) -> tuple[Data, list[str]]:
    r"""Return what a figure shows, and the families of fonts that have all of its letters, in the order of their use.

    Args:
        data: plain JSON types. A letter that no installed font can draw is escaped (``\\u5de5``), as a control
            character is.
    """
    missing = {letter for text in _texts(data) for letter in text} - _drawn(FAMILY)
    families = [FAMILY]
    for family in _installed() if missing else ():
        if found := missing & _drawn(family):
            families.append(family)
            missing -= found
    return _escaped(data, missing) if missing else data, families


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list | tuple):
        for each in data.values() if isinstance(data, dict) else data:
            yield from _texts(each)


def _escaped(data: Any, missing: set[str]) -> Any:
    if isinstance(data, str):
        is_shown = missing.isdisjoint(data)  # as is every image, in base64
        return data if is_shown else "".join(c.encode("unicode_escape").decode() if c in missing else c for c in data)
    if isinstance(data, dict):
        return {key: _escaped(value, missing) for key, value in data.items()}
    return [_escaped(each, missing) for each in data] if isinstance(data, list | tuple) else data


@functools.cache
def _installed() -> list[str]:
    """Return the families of the fonts that are installed now (Matplotlib keeps an older list), sans serif first."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with suppress(OSError, RuntimeError):  # no font that Matplotlib can read
            font_manager.fontManager.addfont(path)
    names = {font.name for font in font_manager.fontManager.ttflist}
    return sorted(names, key=lambda name: ("Sans" not in name, name))


@functools.cache
def _drawn(family: str) -> frozenset[str]:
    """Return the letters of a family that Matplotlib can draw, none of a font of bitmaps (emoji in colour)."""
    faces = [font for font in font_manager.fontManager.ttflist if font.name == family]
    upright = min(faces, key=lambda font: (font.style != "normal", str(font.weight) not in ("400", "normal")))
    if Path(upright.fname).stem.startswith("LastResort"):  # boxes
        return frozenset()
    try:
        font = font_manager.get_font(upright.fname)
        letters = [chr(code) for code in font.get_charmap()]
        has_outlines = any(map(functools.partial(_has_outline, font), letters[-_TRIED:]))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(c for c in letters if unicodedata.category(c) != "Cc") if has_outlines else frozenset()


def _has_outline(font: FT2Font, letter: str) -> bool:
    font.load_char(ord(letter))
    return len(font.get_path()[0]) > 0


def shortened(names: Iterable[str], most: int) -> dict[str, str]:
    """Return a short form of each name, of at most ``most`` columns, different for different names.

    Long names are cut at the end; where that makes two of them alike, in the middle, or else numbered.
    """
    names = list(dict.fromkeys(names))
    long = [name for name in names if columns_of(name) > most]
    for tail in (0, *range(4, most - 4), 1, 2, 3):  # of fewer than four letters only where that must be
        cut = {name: f"{_start(name, most - 1 - tail)}{_ELLIPSIS}{_end(name, tail)}" for name in long}
        short = {name: cut.get(name, name) for name in names}
        if len(set(short.values())) == len(names):
            return short
    numbered = {name: f"{_start(name, most - 5)}{_ELLIPSIS}{number}" for number, name in enumerate(long, 1)}
    return {name: numbered.get(name, name) for name in names}


def columns_of(text: str) -> int:
    """Return the columns of a text: two for a wide letter (Chinese, Japanese, Korean), none for a combining one."""
    return sum(map(_columns, text))


def _columns(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else int(not unicodedata.combining(letter))


def _start(text: str, most: int) -> str:
    return text[: bisect_right(list(itertools.accumulate(map(_columns, text))), most)]


def _end(text: str, most: int) -> str:
    return _start(text[::-1], most)[::-1]
