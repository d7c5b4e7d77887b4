"""The decode cache: a dataset's images at one size, decoded once, as one memory-mapped file shared by all processes.

File: the pixels, uint8, shape (N, size, size, channels), row by row; then a footer of `_FOOTER` bytes, JSON padded with
spaces: the shape, a mark, a checksum (SHA-256 over the images' CRC-32s), and the boot of the machine in which it was
written, null once it is known to be on disk. A build writes another name and renames, so a file under its final name is
whole; opening checks size and footer, `verify` the checksum too. A build does not wait for the disk: only a crash of
the whole machine could lose what it wrote, so after another boot the first opening verifies the checksum.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from benchmark.datasets.locations import cache_directory
from benchmark.datasets.parallel import Progress, map_files
from benchmark.datasets.pixels import RULE, BadImage, read_image, resized
from benchmark.datasets.storage import building, sync, this_boot
from benchmark.errors import UserError

_FOOTER = 512
_MARK = "greyscale-benchmark-images-3"


def cache_file(name: str, content: str, size: int, grey: bool) -> Path:
    """Return where the pixels of a dataset's content are kept.

    The name hashes the format, the content, the size, the resize rule, colour or grey, and Pillow's version, whose
    decoders may change their last bits.
    """
    decisive = json.dumps([_MARK, content, size, RULE, grey, PIL.__version__])
    key = hashlib.sha256(decisive.encode()).hexdigest()[:16]
    return cache_directory() / "images" / f"{name}-{size}-{'grey' if grey else 'rgb'}-{key}.images"


def open_images(
    name: str,
    content: str,
    files: Sequence[tuple[Path, str]],
    *,
    size: int,
    grey: bool,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Return the decoded images, built where the cache does not hold them.

    Args:
        name: of the dataset, for the file's name.
        content: hash over all files' contents.
        files: (path, SHA-256) of every image, in the order of the rows.
        size: both sides after resizing, pixels.
        grey: one channel of luma instead of three of colour.
        progress: told "decoding".

    Returns:
        uint8, shape (len(files), size, size, 1 or 3), read-only, memory-mapped.

    Raises:
        UserError: an image changed or cannot be decoded (all are named), or the cache folder cannot be written.
    """
    shape = (len(files), size, size, 1 if grey else 3)
    target = cache_file(name, content, size, grey)
    if not _whole(target, shape):
        target.unlink(missing_ok=True)
        boot = this_boot()
        with building(target, synced=boot is None) as temporary:
            if temporary is not None:
                _build(name, temporary, files, shape, boot, progress)
    return np.memmap(target, dtype=np.uint8, mode="r", shape=shape)


def _build(
    name: str,
    temporary: Path,
    files: Sequence[tuple[Path, str]],
    shape: tuple[int, ...],
    boot: str | None,
    progress: Progress | None,
) -> None:
    _, size, _, channels = shape
    checksums, bad = [], []
    work = functools.partial(_decoded, size=size, grey=channels == 1)
    with temporary.open("wb") as file:
        for (path, _), pixels in zip(files, map_files(work, files, stage="decoding", progress=progress), strict=True):
            if isinstance(pixels, BadImage):
                bad.append(f"{path}: {pixels}")
            elif not bad:
                file.write(pixels)
                checksums.append(zlib.crc32(pixels))
    if bad:
        raise UserError("\n".join([f"dataset {name}: {len(bad)} images cannot be decoded.", *bad]))
    _write_footer(temporary, {"mark": _MARK, "shape": list(shape), "checksum": _joined(checksums), "boot": boot})


def _decoded(file: tuple[Path, str], size: int, grey: bool) -> bytes | BadImage:
    """Return one file's pixels, size x size x (1 or 3) bytes, row by row; or why there are none."""
    path, sha256 = file
    try:
        content = path.read_bytes()
    except OSError as error:
        return BadImage(f"cannot be read: {error.strerror}")
    if hashlib.sha256(content).hexdigest() != sha256:
        return BadImage("its content changed after it was indexed")
    try:
        return resized(read_image(content), size, grey).tobytes()
    except BadImage as error:
        return error


def _joined(checksums: Iterable[int]) -> str:
    return hashlib.sha256(np.array(list(checksums), dtype=">u4").tobytes()).hexdigest()


def _write_footer(path: Path, facts: dict[str, Any]) -> None:
    with path.open("r+b") as file:
        file.seek(int(np.prod(facts["shape"])))
        file.write(json.dumps(facts).encode().ljust(_FOOTER))


def _footer(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.seek(-_FOOTER, os.SEEK_END)
            facts = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("mark") == _MARK else None


def _whole(path: Path, shape: tuple[int, ...]) -> bool:
    facts = _footer(path)
    if facts is None or facts["shape"] != list(shape):
        return False
    if facts["boot"] in (None, this_boot()):
        return path.stat().st_size == int(np.prod(shape)) + _FOOTER
    if not verify(path):
        return False
    with contextlib.suppress(PermissionError):  # somebody else's cache: it is verified each time
        sync(path)
        _write_footer(path, {**facts, "boot": None})
    return True


def verify(path: Path) -> bool:
    """Return whether a cache file's pixels are those that were written: size, footer and checksum."""
    facts = _footer(path)
    if facts is None or path.stat().st_size != int(np.prod(facts["shape"])) + _FOOTER:
        return False
    images = np.memmap(path, dtype=np.uint8, mode="r", shape=tuple(facts["shape"]))
    return bool(_joined(zlib.crc32(image) for image in images) == facts["checksum"])
