"""One image file inspected for `datasets check`: what is unusual about it, and what it looks like."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from benchmark.data.decoding.pixels import MAX_PIXELS, BadImage, read_image, resized, thumbnail

GREY_TOLERANCE = 3
"""Largest difference between channels, grey levels, of an image that counts as grey."""

_ORIENTATION = 0x0112
_SIDE = 64


def inspect(path: Path) -> dict[str, Any]:
    """Return what `datasets check` needs to know of one file.

    Keys: ``kinds``, what is unusual, words of `benchmark.data.check.KINDS`; ``detail``, why it cannot be decoded,
    or None; ``sha256``; ``thumbnail`` (see `pixels.thumbnail`) and ``grey``, whether the pixels are without
    colour, both None if it cannot be decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return _facts(["unreadable"], f"cannot be read: {error.strerror}", "")
    sha256 = hashlib.sha256(content).hexdigest()
    kinds = _container(content)
    try:
        image = read_image(content)
    except BadImage as error:
        return _facts([*kinds, _why(content, str(error))], str(error), sha256)
    pairs = itertools.combinations(resized(image, _SIDE, grey=False).split(), 2)
    beyond = (ImageChops.difference(*pair).histogram()[GREY_TOLERANCE + 1 :] for pair in pairs)
    return {**_facts(kinds, None, sha256), "thumbnail": thumbnail(image), "grey": not any(map(any, beyond))}


def _facts(kinds: list[str], detail: str | None, sha256: str) -> dict[str, Any]:
    return {"kinds": kinds, "detail": detail, "sha256": sha256, "thumbnail": None, "grey": None}


def _why(content: bytes, message: str) -> str:
    if not content:
        return "zero-byte"
    if "not an image" in message:
        return "non-image"
    if "more than" in message:
        return "enormous"
    return "truncated" if "truncated" in message else "unreadable"


def _container(content: bytes) -> list[str]:
    """Return what a file's header tells of how it is stored."""
    kinds = []
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                return []
            if getattr(image, "is_animated", False) and image.format != "MPO":
                kinds.append("animated")
            if image.mode == "CMYK":
                kinds.append("CMYK")
            if image.mode.startswith("I") or ";16" in str(getattr(image, "tile", "")):
                kinds.append("16-bit")
            if image.mode in ("P", "PA"):
                kinds.append("palette")
            if image.has_transparency_data and image.mode != "P":
                kinds.append("RGBA")
            if image.getexif().get(_ORIENTATION, 1) != 1:
                kinds.append("EXIF-rotated")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return []
    return kinds
