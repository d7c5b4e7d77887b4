"""Text in CSV files that spreadsheets open, without their taking a name for a formula."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""Start of a cell that a spreadsheet computes (OWASP, "CSV Injection"), and of one that `cell` has marked."""


def cell(text: str) -> str:
    """Return a text for a cell, with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(written: str) -> str:
    """Return the text that `cell` has written so; a text of other origin stays as it is."""
    return written[1:] if written.startswith("'") and _FORMULA.match(written) else written
