"""A child process of `benchmark.datasets.parallel`: reads lines of JSON, works on image files, answers lines of JSON.

The first line is the task, each further line a list of items. Tasks:

- ``{"kind": "scan"}``, item ``[id, path]``: answers ``[id, facts]``, the facts of `scan_file`.
- ``{"kind": "inspect"}``, item ``[id, path]``: answers ``[id, facts]``, the facts of `inspection.inspect`.
- ``{"kind": "decode", "file": F, "size": S, "grey": B}``, item ``[row, path, sha256]``: writes the pixels into row
  ``row`` of the raw file F, answers ``[row, CRC-32 of the pixels, null]`` or ``[row, 0, reason]``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from benchmark.datasets.pixels import BadImage, has_colour, read_image, resized

THUMBNAIL = 24
"""Sides of the grey thumbnails that near-duplicates are found by, pixels."""


def scan_file(path: str) -> dict[str, Any]:
    """Return what an index says of one file.

    Keys: ``bytes``, ``sha256``, ``width``, ``height`` (as stored, before EXIF rotation), ``mode`` (Pillow's),
    ``colour`` (whether a pixel's channels differ, whatever the mode), ``thumbnail`` (base64 of 24 x 24 grey bytes), and
    ``problem``, None where the file can be decoded.
    """
    facts: dict[str, Any] = {"width": 0, "height": 0, "mode": "", "colour": False, "thumbnail": "", "problem": None}
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return {**facts, "bytes": 0, "sha256": "", "problem": f"cannot be read: {error.strerror}"}
    facts |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        image = read_image(content)
    except BadImage as error:
        return {**facts, "problem": str(error)}
    with Image.open(io.BytesIO(content)) as header:
        facts |= {"width": header.width, "height": header.height, "mode": header.mode}
    thumbnail = resized(image, THUMBNAIL, grey=True)
    facts["colour"] = has_colour(image)
    return {**facts, "thumbnail": base64.b64encode(thumbnail.tobytes()).decode()}


def decode_file(path: str, sha256: str, size: int, grey: bool) -> bytes:
    """Return one file's pixels, size x size x (1 or 3) bytes, row by row.

    Raises:
        BadImage: the file is not the one that was indexed, or cannot be decoded.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadImage("its content changed after it was indexed")
    return resized(read_image(content), size, grey).tobytes()


def run(task: dict[str, Any], items: list[list[Any]]) -> list[list[Any]]:
    """Do one list of items; see the module's text."""
    if task["kind"] == "scan":
        return [[name, scan_file(path)] for name, path in items]
    if task["kind"] == "inspect":
        from benchmark.datasets.inspection import inspect  # its hashes take a second to import

        return [[name, inspect(path)] for name, path in items]
    handle = os.open(task["file"], os.O_WRONLY | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "wb") as file:
        return [_decode_into(file, task["size"], task["grey"], *item) for item in items]


def _decode_into(file: BinaryIO, size: int, grey: bool, row: int, path: str, sha256: str) -> list[Any]:
    try:
        pixels = decode_file(path, sha256, size, grey)
    except BadImage as error:
        return [row, 0, str(error)]
    file.seek(row * len(pixels))
    file.write(pixels)
    return [row, zlib.crc32(pixels), None]


def main() -> None:
    """Serve until the input ends. A killed parent leaves a line without its end, and nobody who reads answers."""
    lines = itertools.takewhile(lambda line: line.endswith("\n"), sys.stdin)
    first = next(lines, None)
    if first is None:
        return
    task = json.loads(first)
    for line in lines:
        try:
            reply: dict[str, Any] = {"done": run(task, json.loads(line))}
        except Exception:
            reply = {"error": traceback.format_exc()}
        try:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
            return


if __name__ == "__main__":
    main()
