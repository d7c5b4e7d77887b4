"""Hook of MkDocs: which files the site has.

They are those that ``nav`` in ``mkdocs.yml`` names, and, one after the other, all that these link to. Each keeps its
path in the repository as its source, so that a link between two files leads to the same place there and on the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"""(?:\]\(|src=")([^)#:"]+)[)#"]""")


def named(nav: Any) -> Iterator[str]:
    """Yield the paths in a navigation, in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from named(item)


def linked(page: str) -> Iterator[str]:
    """Yield the files of the repository that a Markdown file links to, as paths in the repository."""
    path = ROOT / page
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        target = (path.parent / link).resolve()
        if target.is_file() and target.is_relative_to(ROOT):
            yield target.relative_to(ROOT).as_posix()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the theme, and those of the repository that the site has."""
    paths = list(dict.fromkeys(named(config.nav)))
    for path in paths:  # which grows
        if path.endswith(".md"):
            paths += [target for target in dict.fromkeys(linked(path)) if target not in paths]
    found = [file for file in files if file.src_dir != config.docs_dir or file.src_uri in config.extra_css]
    for path in paths:
        file = File(path, str(ROOT), config.site_dir, config.use_directory_urls)
        file.dest_uri = file.dest_uri.removeprefix("docs/")
        found.append(file)
    return Files(found)
