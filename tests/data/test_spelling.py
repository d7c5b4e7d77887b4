"""Names that look the same to a reader."""

from __future__ import annotations

import pytest

from benchmark.data.spelling import list_alike, normal_form


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "Cat", "CAT", " cat ", "c\u0430t", "ca\u00adt", "\ufeffcat", "ｃａｔ", "cat\u200d"),
        ("1", "01", "1.0", "+1", "１", "1e0"),
        ("caf\u00e9", "cafe\u0301", "CAF\u00c9"),
        ("hot dog", "hot  dog", "hot\u00a0dog"),
        ("0", "-0", "0.00"),
    ],
)
def test_names_that_are_one_to_a_reader_are_alike(names: tuple[str, ...]) -> None:
    assert len({normal_form(name) for name in names}) == 1
    assert list_alike([*names, *names, "other"]) == [list(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("1", "-1", "10", "1.01", "1a"),
        ("1 mm", "1 \u00b5m"),
        ("Ma\u00dfe", "Masse"),
        ("\u732b", "\u72ac", "\u043a\u043e\u0442", "\u043f\u0451\u0441"),
        ("12345678901234567890", "12345678901234567891"),
        ("1.2.840.1", "1.2.840.10"),
        ("a_b", "ab"),
    ],
)
def test_names_that_a_reader_tells_apart_are_not_alike(names: tuple[str, ...]) -> None:
    assert list_alike(names) == []
