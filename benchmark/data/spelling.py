"""Names that look the same to a reader although their characters differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 15  # longest number; longer ones are names, whose last digits a float would lose

_LIKE_LATIN = str.maketrans("\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u03bf", "aeopcyxijsho")
"""Lower-case Cyrillic and Greek letters that look like Latin ones."""


def normal_form(name: str) -> str:
    """Return a normal form of a name, equal for names that look the same, or nearly the same.

    Differences are ignored in case, Unicode form (NFC, NFD, full width), invisible characters, number and kind of
    spaces, letters of three scripts that look alike, and the spelling of a number (1, 01, 1.0).
    """
    text = unicodedata.normalize("NFKC", name).lower()
    seen = "".join(letter for letter in text if not _is_invisible(letter))
    words = " ".join(unicodedata.normalize("NFKC", seen).split()).translate(_LIKE_LATIN)
    return repr(float(words) + 0) if len(words) <= _MOST_DIGITS and _NUMBER.fullmatch(words) else words


def _is_invisible(letter: str) -> bool:
    is_control = unicodedata.category(letter) in ("Cf", "Cc") and not letter.isspace()
    return is_control or letter in "\u034f\u115f\u1160\u3164" or "\ufe00" <= letter <= "\ufe0f"


def is_text(name: str) -> bool:
    """Return whether a name is one line of text, without control characters and bytes that are not UTF-8."""
    return all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)


def list_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the sets of different names that look the same, each in the given order."""
    sets: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        sets.setdefault(normal_form(name), []).append(name)
    return [alike for alike in sets.values() if len(alike) > 1]


def quoted(name: str) -> str:
    """Return a name in quotes, followed by its escaped form if it is not ASCII."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"
