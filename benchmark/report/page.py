"""report.html: the report as one self-contained file, with its figures as SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

_FIGURE = re.compile(
    r'<p><strong>(?P<title>[^<]*)</strong></p>\n<p><img src="figures/(?P<name>[a-z0-9-]+)\.svg" alt="[^"]*" /></p>\n'
    r"<p>(?P<caption>.*?)</p>\n",
    re.DOTALL,
)
"""A figure as the renderer writes it: its title, the image, its caption."""

FIRST = ("The answer", "Test accuracy")
"""Sections that share the first screen."""

NARROW = 360
"""Width of a figure up to which it has room next to a table on a laptop, points."""

OPEN = (*FIRST, "Recommendation", "Paired differences")
"""Sections that are not folded."""


def page(markdown: str, title: str, drawings: Mapping[str, str]) -> str:
    """Return the HTML page of a report.

    Args:
        markdown: report.md.
        title: title of the page, plain text.
        drawings: ``svg`` element of each figure, by the figure's name.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")

    def drawn(match: re.Match[str]) -> str:
        caption = f"<figcaption><strong>{match['title']}</strong> {match['caption']}</figcaption>"
        return f'<figure id="{match["name"]}">\n{drawings[match["name"]]}{caption}</figure>\n'

    body = _FIGURE.sub(drawn, renderer.render(markdown))
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    heading, *sections = re.split(r"(?=<h2>)", body)
    named = {re.findall("<h2>(.*?)</h2>", section)[0]: section for section in sections}
    contents = [(name, name.lower().replace(",", "").replace(" ", "-")) for name in named]
    parts = [
        f'<section id="{anchor}"{_layout(named[name])}>\n{named[name]}</section>\n'
        if name in OPEN
        else f'<details id="{anchor}">\n{_as_summary(named[name])}</details>\n'
        for name, anchor in contents
    ]
    first = [name in FIRST for name in named].count(True)
    body = f'{heading}<div class="first">\n{"".join(parts[:first])}</div>\n{"".join(parts[first:])}'
    template = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(title=title, body=Markup(body), contents=contents)


def _layout(section: str) -> str:
    """Return the class of a section whose only figure has room next to its tables."""
    widths = re.findall(r'<svg [^>]*?\bwidth="([\d.]+)pt"', section)
    return ' class="narrow"' if len(widths) == 1 and float(widths[0]) <= NARROW else ""


def _as_summary(section: str) -> str:
    """Return a section whose heading is what a folded one shows."""
    return section.replace("<h2>", "<summary><h2>").replace("</h2>", "</h2></summary>")
