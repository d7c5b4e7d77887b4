"""report.html: the same report as one file without any request, its figures as SVG inside it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from benchmark.report.pictures import Drawing, Picture

_IMAGE = re.compile(r'<p><img src="figures/([a-z0-9-]+)\.png" alt="([^"]*)" /></p>')
_FIGURE = re.compile(
    r'(<figure data-name="([a-z0-9-]+)" data-sha256="([0-9a-f]{64})") svg-sha256="([0-9a-f]{64})">\n(.*?)\n(</figure>)',
    re.DOTALL,
)


def page(markdown: str, title: str, figures: Sequence[tuple[Picture, Drawing]]) -> str:
    """Return the HTML page of a report.

    Args:
        markdown: report.md.
        title: of the page, plain text.
        figures: the pictures that it shows, as drawn.
    """
    return _assemble(markdown, title, {picture.name: (picture.digest, drawing.svg) for picture, drawing in figures})


def agrees(page_bytes: bytes, markdown: str, title: str, figures: Sequence[Picture]) -> bool:
    """Return whether a page (UTF-8) is the one of a report, nothing drawn.

    Everything outside the figures must be the same byte for byte; each figure must carry the hash of the data that the
    report has for it, and the hash of its own drawing.
    """
    try:
        content = page_bytes.decode()
    except UnicodeDecodeError:
        return False
    for match in _FIGURE.finditer(content):
        if hashlib.sha256(match.group(5).encode()).hexdigest() != match.group(4):
            return False
    wanted = _assemble(markdown, title, {picture.name: (picture.digest, "") for picture in figures})
    return without_drawings(content) == without_drawings(wanted)


def without_drawings(content: str) -> str:
    """Return a page without what is drawn in it, each figure with the hash of its data."""
    return _FIGURE.sub(r"\1>\6", content)


def _assemble(markdown: str, title: str, drawings: Mapping[str, tuple[str, str]]) -> str:
    """Return the page with ``drawings``: name -> (hash of the data, SVG)."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")

    def figure(match: re.Match[str]) -> str:
        digest, svg = drawings[match.group(1)]
        own = hashlib.sha256(svg.encode()).hexdigest()
        opening = f'<figure data-name="{match.group(1)}" data-sha256="{digest}" svg-sha256="{own}">'
        return f"{opening}\n{svg}\n</figure>"

    body = _IMAGE.sub(figure, renderer.render(markdown))
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    template = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(title=title, body=Markup(body))
