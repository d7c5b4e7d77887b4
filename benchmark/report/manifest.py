"""report.sha256: the hash of every other file of the report, so that no byte of any changes unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

NAME = "report.sha256"
"""In the format of ``sha256sum --check``."""


def manifest(files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of some files: relative path -> content."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return "".join(lines).encode()


def changed(stated: bytes, files: Mapping[str, bytes]) -> list[str]:
    """Return the files that are not those of a manifest, its own name where it is itself damaged, ascending.

    Args:
        stated: the manifest as it is.
        files: the files as they are.
    """
    if stated == manifest(files):
        return []
    return [name for name, content in sorted(files.items()) if not vouches(stated, {name: content})] or [NAME]


def vouches(stated: bytes, files: Mapping[str, bytes]) -> bool:
    """Return whether a manifest has a line for each of some files, with its hash."""
    return set(manifest(files).splitlines()) <= set(stated.splitlines())
