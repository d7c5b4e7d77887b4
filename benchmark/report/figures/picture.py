"""A figure as data and a way to draw it, so that a figure that shows other data is known without drawing."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING_VERSION = 5
"""Raised when a figure shows the same data in another way, so that committed pictures count as changed."""

DPI = 144
"""Of the PNG, dots per inch."""

Section = Literal["accuracy", "differences", "curves", "cost", "confusion", "modes", "hardest"]
"""The part of the report that has a figure."""


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without extension.
        section: the part of the report that has it.
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

    def drawn(self) -> tuple[bytes, bytes]:
        """Draw the figure, once for both files.

        Returns:
            The PNG file, and the SVG file: one ``svg`` element with a title for screen readers. Neither has a date.
        """
        import matplotlib

        settings: Any = {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#e5e5e5",
            "grid.linewidth": 0.6,
            "figure.dpi": DPI,  # the layout is made at the resolution of the PNG: hinted letters change width with it
            "svg.hashsalt": self.name,
            "text.parse_math": False,  # a name may hold dollar signs
        }
        with matplotlib.rc_context(settings):
            figure = self.draw(self.data)
            png, svg = io.BytesIO(), io.BytesIO()
            if (engine := figure.get_layout_engine()) is not None:  # lay out once, not in each `savefig`
                engine.execute(figure)
                figure.set_layout_engine(None)
            figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")
            dateless: dict[str, str | None] = {"Date": None, "Creator": None, "Title": self.title}
            figure.savefig(svg, format="svg", metadata=dateless, facecolor="white")
        text = svg.getvalue().decode()
        label = f'<svg role="img" aria-label="{escape(self.title)}" '
        text = text[text.index("<svg") :].replace("<svg ", label, 1)
        return png.getvalue(), "".join(f"{line.rstrip()}\n" for line in text.splitlines()).encode()
