"""Numbers and names as text: fixed decimals, a true minus sign, Markdown that no name can break."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmark.analysis.statistics import Interval

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LINE = re.compile(r"\s+")


def escape(name: str) -> str:
    """Return a name that Markdown shows as it is, on one line, also inside a table."""
    return _SPECIAL.sub(r"\\\1", _LINE.sub(" ", name.strip()))


def percent(share: float) -> str:
    """Return a share (0..1) in percent with one decimal, without the sign: ``91.4``."""
    return _minus(f"{100 * share:.1f}")


def points(share: float) -> str:
    """Return a difference of shares in percent points with its sign: ``+2.1``, ``−0.4``, ``0.0``."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else _minus(text)


def half_width(interval: Interval) -> str:
    """Return the half-width in percent points, ``?`` where there is none."""
    return "?" if interval.half_width is None else f"{100 * interval.half_width:.1f}"


def with_interval(interval: Interval) -> str:
    """Return ``91.4 ± 2.1``."""
    return f"{percent(interval.mean)} ± {half_width(interval)}"


def points_with_interval(interval: Interval) -> str:
    """Return ``+2.1 ± 1.0``."""
    return f"{points(interval.mean)} ± {half_width(interval)}"


def margin_in_words(share: float) -> str:
    """Return a margin of equivalence as ``1 point`` or ``0.5 points``."""
    return f"{100 * share:g} point" + ("" if share == 0.01 else "s")


def p_text(p: float | None) -> str:
    """Return a p-value with three decimals, ``< 0.001`` below them, nothing where there is none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def shown(value: float | None, unit: float, decimals: int) -> str:
    """Return a value in a unit with fixed decimals, nothing where there is none."""
    return "" if value is None else _minus(f"{value / unit:.{decimals}f}")


def duration(seconds: float) -> str:
    """Return seconds as ``12 s``, ``3.4 min`` or ``2.1 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return ``1 run`` or ``3 runs``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return "".join(words) if len(words) < 2 else f"{', '.join(words[:-1])} and {words[-1]}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; cells must be escaped already.

    Args:
        header: column titles.
        rows: one text a column.
        left: number of columns aligned left; the others are aligned right.
    """
    rule = [":---" if index < left else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def _minus(text: str) -> str:
    return text.replace("-", "−")
