"""The decode cache: a dataset's images at one size, decoded once, as one memory-mapped file shared by all processes.

``NAME.npy`` holds the pixels, uint8, shape (N, size, size, channels); ``NAME.json`` next to it describes them: the
format, the shape, a CRC-32 of the pixels. The JSON is written first, and the pixels get their final name once they are
on disk, so a file with the final name is complete. Opening checks format and shape, `is_undamaged` also the checksum.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.decoding.pixels import RULE, BadImage, read_file, resized, to_image
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.value_range import Reading
from benchmark.environment import decoder_versions
from benchmark.errors import UserError
from benchmark.files import build_once, write_atomically
from benchmark.locations import cache_file

_FORMAT = "greyscale-benchmark-images-4"


def pixels_file(name: str, content: str, size: int, grey: bool) -> Path:
    """Return the path of a dataset's decoded pixels.

    Its name includes a hash of the format, the content, the size, the resize rule, colour or grey, and the decoders.
    """
    decisive = json.dumps([_FORMAT, content, size, RULE, grey, decoder_versions()])
    key = hashlib.sha256(decisive.encode()).hexdigest()[:16]
    return cache_file("images", name, f"{size}-{'grey' if grey else 'rgb'}-{key}.npy")


def decoded_images(
    name: str,
    content: str,
    files: Sequence[tuple[Path, str]],
    *,
    size: int,
    grey: bool,
    reading: Reading,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Return the decoded images, from the cache or newly decoded.

    Args:
        name: the dataset's name, used in the file's name.
        content: hash of all files' contents and of the windows of ``reading``.
        files: (path, SHA-256) of every image, in the order of the rows.
        size: both sides after resizing, pixels.
        grey: whether to return one channel of luma instead of three of colour.
        reading: the way from files to pixels.
        progress: called with "decoding".

    Returns:
        uint8, shape (len(files), size, size, 1 or 3), read-only, memory-mapped.

    Raises:
        UserError: an image changed or cannot be decoded (all are named), or the cache folder cannot be written.
    """
    shape = (len(files), size, size, 1 if grey else 3)
    target = pixels_file(name, content, size, grey)
    images = _read_cached(target)
    if images is None or images.shape != shape:
        target.unlink(missing_ok=True)
        with build_once(target) as temporary:
            if temporary is not None:
                checksum = _build(name, temporary, files, shape, reading, progress)
                facts = {"format": _FORMAT, "shape": shape, "crc32": checksum}
                write_atomically(target.with_suffix(".json"), json.dumps(facts).encode())
        images = np.lib.format.open_memmap(target, mode="r")
    return images


def _build(
    name: str,
    temporary: Path,
    files: Sequence[tuple[Path, str]],
    shape: tuple[int, ...],
    reading: Reading,
    progress: Progress | None,
) -> int:
    """Write the pixels and return their CRC-32. No memory map is used: with one, a full disk is a bus error."""
    _, size, _, channels = shape
    checksum, bad = 0, []
    work = functools.partial(_decode, size=size, grey=channels == 1, reading=reading)
    with temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for (path, _), pixels in zip(files, map_files(work, files, stage="decoding", progress=progress), strict=True):
            if isinstance(pixels, BadImage):
                bad.append(f"{path}: {pixels}")
            elif not bad:
                file.write(pixels)
                checksum = zlib.crc32(pixels, checksum)
    if bad:
        raise UserError("\n".join([f"dataset {name}: {len(bad)} images cannot be decoded.", *bad]))
    return checksum


def _decode(file: tuple[Path, str], size: int, grey: bool, reading: Reading) -> bytes | BadImage:
    """Return one file's pixels, size x size x (1 or 3) bytes, row by row, or the reason why it has none."""
    path, sha256 = file
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return BadImage("its content changed after it was indexed")
        decoded = read_file(content, frames=reading.frames)
        return resized(to_image(decoded, reading.windows, clip=reading.clip), size, grey).tobytes()
    except OSError as error:
        return BadImage(f"cannot be read: {error.strerror}")
    except BadImage as error:
        return error


def _read_cached(path: Path) -> NDArray[np.uint8] | None:
    """Return the images of a cache file, or None if it is missing, truncated or not what its JSON describes."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        images = np.lib.format.open_memmap(path, mode="r")
        matches = facts["format"] == _FORMAT and tuple(facts["shape"]) == images.shape and images.dtype == np.uint8
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return images if matches else None


def is_undamaged(path: Path) -> bool:
    """Return whether a cache file's pixels are those that were written."""
    images = _read_cached(path)
    return images is not None and zlib.crc32(images.data) == json.loads(path.with_suffix(".json").read_bytes())["crc32"]
