"""report.html: the report as one self-contained file, with its figures as SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

_IMAGE = re.compile(r'<p><img src="figures/([a-z0-9-]+)\.svg" alt="([^"]*)" /></p>')


def page(markdown: str, title: str, drawings: Mapping[str, str]) -> str:
    """Return the HTML page of a report.

    Args:
        markdown: report.md.
        title: title of the page, plain text.
        drawings: ``svg`` element of each figure, by the figure's name.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = _IMAGE.sub(
        lambda match: f'<figure id="{match.group(1)}">\n{drawings[match.group(1)]}</figure>', renderer.render(markdown)
    )
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    template = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(title=title, body=Markup(body))
