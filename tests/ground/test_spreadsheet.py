"""Cells of CSV files that a spreadsheet takes for text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import spreadsheet


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert spreadsheet.cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["crack", "'tis", "a=1", "", "0.5", "class -1"])
def test_other_text_is_written_and_read_as_it_is(text: str) -> None:
    assert spreadsheet.cell(text) == spreadsheet.text_of(text) == text


@given(st.text(st.sampled_from("'=+-@\ta1")))
def test_every_text_is_read_as_it_was_and_none_is_a_formula(text: str) -> None:
    written = spreadsheet.cell(text)
    assert spreadsheet.text_of(written) == text
    assert not written.startswith(tuple("=+-@\t\r\n"))
