"""Numbers and names as text: fixed decimals, a real minus sign, escaped Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmark.analysis.uncertainty.interval import Interval

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LINE = re.compile(r"\s+")


def escape(name: str) -> str:
    """Return a name escaped for Markdown, on one line, also inside a table."""
    return _SPECIAL.sub(r"\\\1", _LINE.sub(" ", name.strip()))


def plain(markdown: str) -> str:
    """Return Markdown without the stars of bold words and without escapes, for a terminal."""
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*\*", "", markdown))


def percent(share: float) -> str:
    """Return a share (0..1) in percent with one decimal, without the sign: ``91.4``."""
    return _minus(f"{100 * share:.1f}")


def with_interval(interval: Interval) -> str:
    """Return a share in percent with its interval: ``91.4 (88.9–93.5)``, or ``91.4 (?)`` without ends."""
    if interval.low is None or interval.high is None:
        return f"{percent(interval.mean)} (?)"
    return f"{percent(interval.mean)} ({percent(interval.low)}–{percent(interval.high)})"


def points_with_interval(interval: Interval) -> str:
    """Return a difference of shares in percent points with its sign: ``+2.1 ± 1.0``, or ``0.0 ± ?`` without ends."""
    half_width = "?" if interval.half_width is None else f"{100 * interval.half_width:.1f}"
    return f"{format_value(interval.mean, 0.01, 1, sign=True)} ± {half_width}"


def margin_in_words(share: float) -> str:
    """Return a margin of equivalence as ``1 point`` or ``0.5 points``."""
    return f"{100 * share:g} point" + ("" if share == 0.01 else "s")


def p_text(p: float | None) -> str:
    """Return a p-value with three decimals, ``< 0.001`` below that, or nothing for None."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_value(value: float | None, unit: float, decimals: int, sign: bool = False) -> str:
    """Return a value in a unit with fixed decimals, with a plus sign if wanted, or nothing for None."""
    if value is None:
        return ""
    text = f"{value / unit:{'+' if sign else ''}.{decimals}f}"
    return _minus(text if float(text) else text.lstrip("+-"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; cells must be escaped already.

    Args:
        header: column titles.
        rows: one text per column.
        left: number of columns aligned left; the others are aligned right.
    """
    rule = [":---" if index < left else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def _minus(text: str) -> str:
    return text.replace("-", "−")
