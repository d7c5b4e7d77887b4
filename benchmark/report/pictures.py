"""A figure as data and a way to draw it; the PNG carries the hash of the data, so that drift shows without pixels."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING_VERSION = 1
"""Raised when a figure shows the same data in another way, so that committed pictures count as drifted."""

HASH_KEY = "data-sha256"
"""Keyword of the PNG's text chunk."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """One figure.

    Attributes:
        name: file name without extension.
        title: one line, also the alternative text.
        caption: what is seen and how to read it, Markdown.
        data: everything that is drawn: plain JSON types, numbers rounded.
        draw: data -> matplotlib figure.
    """

    name: str
    title: str
    caption: str
    data: Any
    draw: Callable[[Any], Figure]

    @property
    def digest(self) -> str:
        """SHA-256 of the data and of the way it is drawn."""
        text = json.dumps([DRAWING_VERSION, self.title, self.data], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def png(self) -> bytes:
        """Draw the figure. The file holds the data's hash and no date."""
        return self._drawn("png", {HASH_KEY: self.digest, "Software": None})

    def svg(self) -> str:
        """Draw the figure as an ``svg`` element, for a page: no XML header, no date, its title for screen readers."""
        text = self._drawn("svg", {"Date": None, "Creator": None, "Title": self.title}).decode()
        text = (
            text[text.index("<svg") :]
            .strip()
            .replace("<svg ", f'<svg role="img" aria-label="{escape(self.title)}" ', 1)
        )
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _drawn(self, kind: str, metadata: dict[str, str | None]) -> bytes:
        import matplotlib

        matplotlib.use("Agg", force=False)
        from matplotlib import pyplot as plt

        settings: Any = {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.spines.top": False,
            "svg.hashsalt": self.name,
        }
        with plt.rc_context(settings):
            figure = self.draw(self.data)
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=144, metadata=metadata, facecolor="white")
            plt.close(figure)
        return buffer.getvalue()


def stated_digest(content: bytes) -> str | None:
    """Return the data's hash that a PNG carries; None where it has none or where any of its bytes is damaged.

    Every chunk's CRC is checked (PNG specification, section 5), so that no changed byte passes.
    """
    if not content.startswith(_SIGNATURE):
        return None
    at, found, kind = len(_SIGNATURE), None, b""
    while at < len(content):
        if at + 12 > len(content):
            return None
        (length,), kind = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        body, crc = content[at + 8 : at + 8 + length], content[at + 8 + length : at + 12 + length]
        if len(crc) != 4 or struct.unpack(">I", crc)[0] != zlib.crc32(kind + body):
            return None
        if kind == b"tEXt" and body.startswith(HASH_KEY.encode() + b"\0"):
            found = body.partition(b"\0")[2].decode("latin-1")
        at += 12 + length
    return found if kind == b"IEND" else None
