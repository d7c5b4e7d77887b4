"""Lists, numbers and durations in words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 run`` or ``3 runs``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def slug(name: str) -> str:
    """Return a name as part of a file name: at most 80 letters, digits and ``._-``; may be empty."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:80]


def duration(seconds: float) -> str:
    """Return seconds as ``12 s``, ``3.4 min`` or ``2.1 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def seconds_in(text: str) -> float | None:
    """Return the seconds in ``90s``, ``10min`` or ``1.5h``, or None if the text is not a positive duration."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text.replace(" ", ""))
    return (float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2]] or None) if found else None
