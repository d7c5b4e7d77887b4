"""A figure as data and a way to draw it; its files carry the hash of the data, so that drift shows without pixels."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING_VERSION = 5
"""Raised when a figure shows the same data in another way, so that committed pictures count as drifted."""

DPI = 144
"""Of the PNG, dots per inch."""

HASH_KEY = "data-sha256"
"""Keyword of the PNG's text chunk, and of the SVG file's comment."""

Section = Literal["accuracy", "differences", "curves", "cost", "confusion", "modes", "hardest"]
"""The part of the report in which a figure stands."""

_SVG_HEAD = re.compile(rb'<\?xml version="1\.0" encoding="utf-8"\?>\n<!-- data-sha256 ([0-9a-f]{64}) -->\n<svg ')


@dataclass(frozen=True)
class Drawing:
    """A figure as drawn.

    Attributes:
        png: the file, which holds the data's hash and no date.
        svg: an ``svg`` element for a page: no XML header, no date, its title for screen readers.
    """

    png: bytes
    svg: str


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without extension.
        section: where it stands.
        title: one line, also the alternative text.
        caption: what is seen and how to read it, Markdown.
        data: everything that is drawn: plain JSON types, numbers rounded.
        draw: data -> matplotlib figure.
    """

    name: str
    section: Section
    title: str
    caption: str
    data: Any
    draw: Callable[[Any], Figure]

    @property
    def digest(self) -> str:
        """SHA-256 of the data and of the way it is drawn."""
        text = json.dumps([DRAWING_VERSION, self.title, self.data], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def drawn(self) -> Drawing:
        """Draw the figure, once for both files."""
        import matplotlib

        settings: Any = {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.spines.top": False,
            "figure.dpi": DPI,  # the layout is made at the resolution of the PNG: hinted letters change width with it
            "svg.hashsalt": self.name,
            "text.parse_math": False,  # a name may hold dollar signs
        }
        with matplotlib.rc_context(settings):
            figure = self.draw(self.data)
            png, svg = io.BytesIO(), io.BytesIO()
            stated: dict[str, str | None] = {HASH_KEY: self.digest, "Software": None}
            if (
                engine := figure.get_layout_engine()
            ) is not None:  # laid out once: `savefig` would draw for it each time
                engine.execute(figure)
                figure.set_layout_engine(None)
            figure.savefig(png, format="png", dpi=DPI, metadata=stated, facecolor="white")
            dateless: dict[str, str | None] = {"Date": None, "Creator": None, "Title": self.title}
            figure.savefig(svg, format="svg", metadata=dateless, facecolor="white")
        text = svg.getvalue().decode()
        label = f'<svg role="img" aria-label="{escape(self.title)}" '
        text = text[text.index("<svg") :].strip().replace("<svg ", label, 1)
        return Drawing(png.getvalue(), "\n".join(line.rstrip() for line in text.splitlines()))

    def svg_file(self, svg: str) -> bytes:
        """Return the SVG file of an ``svg`` element of this figure."""
        return f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {HASH_KEY} {self.digest} -->\n{svg}\n'.encode()

    def kept(self, png: bytes, svg: bytes) -> Drawing | None:
        """Return the drawing that whole files on disk hold, where it shows this very data; else None."""
        if stated_digest(png) != self.digest or stated_in_svg(svg) != self.digest:
            return None
        return Drawing(png, svg.decode().split("\n", 2)[2].removesuffix("\n"))


def stated_digest(content: bytes) -> str | None:
    """Return the data's hash that a PNG carries; None where it has none or is no PNG."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            found = image.info.get(HASH_KEY)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises on damaged chunks
        return None
    return found if isinstance(found, str) else None


def stated_in_svg(content: bytes) -> str | None:
    """Return the data's hash that an SVG file carries; None where it has none."""
    found = _SVG_HEAD.match(content)
    return found.group(1).decode() if found else None
