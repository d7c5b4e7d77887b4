"""A figure as data and a function that draws it, so that changed data are noticed without drawing."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure

from benchmark.report.figures import letters

DRAWING_VERSION = 7
"""Version of the drawing code, raised when the same data look different: committed pictures then count as changed."""

DPI = 144
"""Resolution of the PNG, dots per inch."""

Section = Literal["accuracy", "differences", "curves", "cost", "confusion", "modes", "hardest"]
"""A part of the report with figures."""


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without extension.
        section: the part of the report that shows it.
        title: one line, also the alternative text.
        caption: explanation, Markdown.
        data: everything that is drawn, as plain JSON types with rounded numbers.
        draw: function from data to a Matplotlib figure.
    """

    name: str
    section: Section
    title: str
    caption: str
    data: Any
    draw: Callable[[Any], Figure]

    @property
    def digest(self) -> str:
        """SHA-256 of the data, the title and the version of the drawing code."""
        text = json.dumps([DRAWING_VERSION, self.title, self.data], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def draw_files(self) -> tuple[bytes, bytes]:
        """Return the PNG file and the SVG file (one ``svg`` element with a title for screen readers), without dates."""
        shown, families = letters.legible(self.data)
        settings: Any = {
            "font.family": families,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#e5e5e5",
            "grid.linewidth": 0.6,
            "figure.dpi": DPI,  # hinted letters, and so the layout, depend on the resolution
            "svg.hashsalt": self.name,
            "text.parse_math": False,  # names may contain dollar signs
        }
        with rc_context():
            rcdefaults()  # none of the user's settings
            rcParams.update(settings)
            figure = self.draw(shown)
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
