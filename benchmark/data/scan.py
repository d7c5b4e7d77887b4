"""The one pass over the files of a dataset: what opening each of them found, on which `check` and every run rest.

It is kept as Parquet in the cache folder under the hash of the files' contents: files which were only touched or moved,
and copies of a dataset, are not opened again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.decoding.pixels import (
    ORIENTATION,
    THUMBNAIL,
    WHOLE,
    BadImage,
    Deep,
    has_colour,
    open_image,
    read_file,
    thumbnail,
    to_image,
)
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.hashes import Hashed, hash_files, read_table
from benchmark.data.listing import Listing
from benchmark.errors import UserError
from benchmark.files import building
from benchmark.locations import cache_directory

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 7
"""Version of the files of scans and indexes; raised whenever their columns, or the way splits are drawn, change."""

MOST_BYTES = 1 << 30
"""Size of the largest file that is read: `MAX_PIXELS` in four channels of 16 bits are smaller, and a film is larger."""


class Facts(NamedTuple):
    """One file.

    Attributes:
        sha256: of its content, 64 hexadecimal digits, or empty if it cannot be read.
        problem: why it has no pixels, or None.
        kinds: what is unusual about it, words of `benchmark.data.check.KINDS`.
        pixels: a hash that is equal for copies: files of equal pixels, whatever their names, containers and metadata.
            This and the next two are None without pixels.
        colour: see `pixels.has_colour`.
        thumbnail: see `pixels.thumbnail`.
    """

    sha256: str
    problem: str | None
    kinds: Sequence[str]
    pixels: str | None = None
    colour: bool | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Scan:
    """The files of a dataset, and what opening each found.

    Attributes:
        listing: the files.
        facts: of each of them, in the same order.
    """

    listing: Listing
    facts: Sequence[Facts]

    @property
    def has_colour(self) -> bool:
        """Whether any image has colour."""
        return any(each.colour for each in self.facts)

    @property
    def thumbnails(self) -> NDArray[np.uint8]:
        """Grey thumbnails of the files that have pixels, shape (n, `THUMBNAIL`, `THUMBNAIL`, 1)."""
        joined = b"".join(each.thumbnail for each in self.facts if each.thumbnail is not None)
        return np.frombuffer(joined, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 1)

    @cached_property
    def identity(self) -> str:
        """64 hexadecimal digits over every file's name, content, class, official split and clip."""
        rows = [
            [file.id, each.sha256, self.listing.classes[file.label], file.split, *([file.clip] if file.clip else [])]
            for file, each in zip(self.listing.files, self.facts, strict=True)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def require(self, content: str | None) -> None:
        """Refuse other files than those of a matrix.

        Args:
            content: their `identity`, or None if the matrix does not know it yet.

        Raises:
            UserError: these are others.
        """
        if content not in (None, self.identity):
            raise UserError(
                f"{self.listing.source}: its images, classes, splits or groups have changed since the matrix was made. "
                "Give the new ones results of their own with --name, and take `content` out of the matrix."
            )

    def part(self, keep: Iterable[bool], note: str) -> Scan:
        """Return some of the files; the note says why the others are left out, and is added to the listing's.

        Raises:
            UserError: a class has no image left.
        """
        chosen = list(keep)
        return Scan(self.listing.part(chosen, note), list(itertools.compress(self.facts, chosen)))


def scan(listing: Listing, progress: Progress | None = None) -> Scan:
    """Open every file of a dataset, unless the cache says what that found.

    Args:
        listing: the files.
        progress: called with "hashing" and "reading", if there is something to hash and to read.

    Raises:
        UserError: a file changes meanwhile, or the cache folder cannot be written.
    """
    paths = [file.path for file in listing.files]
    hashed = hash_files(listing.name, paths, progress)

    def make() -> pa.Table:
        import pyarrow as pa

        files = list(zip(paths, hashed, strict=True))
        found = map_files(_inspect, files, stage="reading", progress=progress)
        columns = {"sha256": pa.string(), "problem": pa.string(), "kinds": pa.list_(pa.string())}
        columns |= {"pixels": pa.string(), "colour": pa.bool_(), "thumbnail": pa.binary()}
        return pa.Table.from_pylist([each._asdict() for each in found], schema=pa.schema(columns))

    table = cached(f"{listing.name}-{digest(hashed)[:16]}-v{VERSION}.scan.parquet", make)
    return Scan(
        listing, [Facts(*row) for row in zip(*(table[name].to_pylist() for name in Facts._fields), strict=True)]
    )


def cached(name: str, make: Callable[[], pa.Table]) -> pa.Table:
    """Return a table of the cache, made first if it is missing or damaged."""
    from pyarrow.parquet import write_table

    target = cache_directory() / "index" / name
    table = read_table(target)
    if table is None:
        target.unlink(missing_ok=True)
        with building(target) as temporary:
            if temporary is not None:
                table = make()
                write_table(table, temporary, compression="zstd")
    return table if table is not None else cached(name, make)  # another process made it


def digest(rows: Iterable[Sequence[object]]) -> str:
    """Return 64 hexadecimal digits over rows of texts and numbers."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()


def _inspect(file: tuple[Path, Hashed]) -> Facts:
    path, (sha256, problem) = file
    if problem is not None:
        return Facts(sha256, problem, ["unreadable"])
    try:
        if path.stat().st_size > MOST_BYTES:
            return Facts(sha256, f"larger than {MOST_BYTES >> 30} GiB", ["enormous"])
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read any more ({error.strerror}). Run the command again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path}: its content changes while it is read. Run the command again when it is complete.")
    kinds = _container(content)
    try:
        decoded = read_file(content)
        image = to_image(decoded, WHOLE)
    except BadImage as error:
        return Facts(sha256, str(error), [*kinds, error.kind])
    kinds += ["not 8-bit"] * isinstance(decoded, Deep)
    return Facts(sha256, None, kinds, _hash_pixels(image), has_colour(image), thumbnail(image))


def _hash_pixels(image: Image.Image) -> str:
    """Return a hash of the size and the channels, of which equal ones count once: grey saved in colour is grey."""
    channels = [channel.tobytes() for channel in image.split()]
    is_grey = all(channel == channels[0] for channel in channels)
    found = hashlib.sha256(repr(image.size).encode())
    for channel in channels[:1] if is_grey else channels:
        found.update(channel)
    return found.hexdigest()


def _container(content: bytes) -> list[str]:
    """Return the kinds that a file's header shows."""
    try:
        with open_image(content) as image:
            kinds = {
                "CMYK": image.mode == "CMYK",
                "palette": image.mode in ("P", "PA"),
                "RGBA": image.has_transparency_data and image.mode != "P",
                "EXIF-rotated": image.getexif().get(ORIENTATION, 1) != 1,
            }
    except Exception:  # not Pillow's, or damaged: `read_file` says it
        return []
    return [kind for kind, applies in kinds.items() if applies]
