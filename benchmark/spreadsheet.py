"""Text cells of CSV files, protected from being read as formulas by spreadsheets."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""Start of a cell that a spreadsheet would evaluate (OWASP, "CSV Injection"), or that `cell` has marked."""


def cell(text: str) -> str:
    """Return a text for a cell, with a leading apostrophe if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(written: str) -> str:
    """Undo `cell`; other text is returned unchanged."""
    return written[1:] if written.startswith("'") and _FORMULA.match(written) else written
