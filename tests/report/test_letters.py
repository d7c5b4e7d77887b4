"""Names of any script in figures: drawn with a font that has their letters, or escaped; cut so that they differ."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager, rc_context, rcParams

from benchmark.report.figures import draw, letters
from benchmark.report.figures.letters import columns_of, legible, shortened
from benchmark.report.figures.picture import Picture

SCRIPTS = ("裂纹", "良品", "شرخ", "दरार", "균열", "🐈", "e\u0301te\u0301", "zero\u200bwidth", "two\nlines", "tab\t")


def confusion(names: tuple[str, ...]) -> Picture:
    counts = [[1] * len(names) for _ in names]
    cells = [{"mode": "grey-1ch", "policy": "scratch", "counts": counts}]
    data = {"classes": list(names), "cells": cells}
    return Picture("confusion", "confusion", "Confusion", "", data, draw.confusion)


@pytest.fixture
def without_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine have Matplotlib's own fonts alone."""
    own = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    letters._installed.cache_clear()
    letters._drawn.cache_clear()
    yield
    letters._installed.cache_clear()
    letters._drawn.cache_clear()


@pytest.mark.usefixtures("without_fonts")
def test_letters_that_no_font_has_are_escaped_and_nothing_is_drawn_as_a_box() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, svg = confusion(SCRIPTS).draw_files()
    text = svg.decode()
    assert "<!-- \\u88c2\\u7eb9 -->" in text
    assert "<!-- شرخ -->" in text, "DejaVu Sans has these"
    assert "<!-- two\\nlines -->" in text
    assert "LastResort" not in text


def new_font(path: Path, letter: str, family: str, *, outlined: bool = True) -> None:
    """Write a font with a single letter, a square, or nothing as in a font of coloured pictures."""
    pen = TTGlyphPen(None)
    if outlined:
        for number, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
            (pen.lineTo if number else pen.moveTo)(point)
        pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(letter): "letter"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "letter": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "letter": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.mark.usefixtures("without_fonts")
def test_an_installed_font_that_has_the_letters_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_font(tmp_path / "one.ttf", "裂", "One Letter")
    new_font(tmp_path / "coloured.ttf", "纹", "Coloured Sans", outlined=False)
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in tmp_path.glob("*.ttf")])
    shown, families = legible({"classes": ["裂纹", "ok"]})
    assert shown == {"classes": ["裂\\u7eb9", "ok"]}
    assert families == ["DejaVu Sans", "One Letter"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, svg = confusion(("裂纹", "ok")).draw_files()
    assert "<!-- 裂\\u7eb9 -->" in svg.decode()


def test_ordinary_names_are_left_as_they_are() -> None:
    data = {"classes": ["crack", "Röntgen", "ok → ★ ±"], "cells": [{"counts": [[1]]}]}
    shown, families = legible(data)
    assert shown is data
    assert families == ["DejaVu Sans"]


HOSTILE: Any = {
    "font.size": 30,
    "axes.grid": True,
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "axes.formatter.use_locale": True,
    "lines.linewidth": 9,
    "image.interpolation": "bilinear",
}
if "font.enable_last_resort" in rcParams:  # since Matplotlib 3.11
    HOSTILE["font.enable_last_resort"] = False


def test_a_users_settings_of_matplotlib_change_no_byte_of_a_figure() -> None:
    plain = confusion(("crack", "ok")).draw_files()
    with rc_context(HOSTILE):
        assert confusion(("crack", "ok")).draw_files() == plain


@given(st.lists(st.text(st.sampled_from("ab裂e\u0301_ "), max_size=30), max_size=12), st.sampled_from([14, 16, 24, 28]))
def test_cut_names_fit_and_are_different_if_the_names_are(names: list[str], most: int) -> None:
    short = shortened(names, most)
    assert set(short) == set(names)
    assert len(set(short.values())) == len(set(names))
    assert all(columns_of(text) <= most for text in short.values())
    assert all(short[name] == name for name in names if columns_of(name) <= most)


def test_names_of_one_beginning_are_cut_in_the_middle_and_others_at_the_end() -> None:
    assert shortened(["surface_defect_deep", "surface_defect_fine"], 14) == {
        "surface_defect_deep": "surface_d…deep",
        "surface_defect_fine": "surface_d…fine",
    }
    assert shortened(["a rather long name", "short"], 14) == {"a rather long name": "a rather long…", "short": "short"}
    alike = [f"{'a' * 20}{number:02}{'b' * 20}" for number in range(12)]
    assert shortened(alike, 14)[alike[11]] == "aaaaaaaaa…12"
