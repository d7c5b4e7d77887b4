"""The single pass over the files of a dataset, whose results `check` and every run use.

Results are cached as Parquet, by a hash of the files' contents: files that were only touched or moved, and copies of a
dataset, are not opened again. Deep files, with more than 8 bits per sample, are opened twice: for their values, which
determine the windows, and then for the pixels that result from the windows.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.decoding.pixels import (
    ORIENTATION,
    THUMBNAIL,
    BadImage,
    count_clipped,
    has_colour,
    open_image,
    read_file,
    thumbnail,
    to_image,
)
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.decoding.window import (
    EIGHT_BITS,
    FEWEST_LEVELS,
    Pool,
    Pools,
    Values,
    count,
    describe,
    find_windows,
    own_ranges,
    pack,
    unpack,
)
from benchmark.data.hashes import FileHash, hash_files, read_table
from benchmark.data.listing import Listing
from benchmark.data.source import DatasetSource
from benchmark.data.value_range import Frames, Reading, Window
from benchmark.environment import decoder_versions
from benchmark.errors import UserError
from benchmark.files import build_once
from benchmark.locations import cache_file

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 7
"""Version of cached scans and indexes; increased whenever their columns, or the way splits are drawn, change."""

MOST_BYTES = 1 << 30
"""Largest file that is read, bytes: more than `MAX_PIXELS` with four channels of 16 bits, less than a film."""


class Facts(NamedTuple):
    """Facts about one file.

    Attributes:
        sha256: hash of its content, 64 hexadecimal digits, or empty if it cannot be read.
        problem: the reason why it has no pixels, or None.
        kinds: what is unusual about it, keys of `benchmark.data.check.KINDS`.
        pixels: a hash that is equal for copies, i.e. files with equal pixels, whatever their names, containers and
            metadata. This and the next two are None if there are no pixels.
        colour: see `pixels.has_colour`.
        thumbnail: see `pixels.thumbnail`.
        clipped: number of values outside of its window; 0 for a file with at most 8 bits per sample.
        container, holds, stated: see `pixels.Deep`; None for a file with at most 8 bits per sample.
        low, high: smallest and largest value of a deep file, else None.
    """

    sha256: str
    problem: str | None
    kinds: Sequence[str]
    pixels: str | None = None
    colour: bool | None = None
    thumbnail: bytes | None = None
    clipped: int = 0
    container: str | None = None
    holds: Window | None = None
    stated: Window | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scan:
    """The files of a dataset and the facts about each.

    Attributes:
        listing: the files.
        facts: facts about each file, in the same order.
        reading: the way from files to pixels.
        described: the windows in words, one line per window.
        unclear: the reason why the windows are unknown, or None. Those in ``reading`` are then only good enough for
            looking at the images.
    """

    listing: Listing
    facts: Sequence[Facts]
    reading: Reading
    described: tuple[str, ...] = ()
    unclear: str | None = None

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
        """Hash of every file's name, content, class, official split and clip, 64 hexadecimal digits."""
        rows = [
            [file.id, each.sha256, self.listing.classes[file.label], file.split, *([file.clip] if file.clip else [])]
            for file, each in zip(self.listing.files, self.facts, strict=True)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def dim(self) -> list[str]:
        """The ids of deep images that keep fewer than `FEWEST_LEVELS` of more values: dark, or with fewer bits."""
        found = []
        for file, each in zip(self.listing.files, self.facts, strict=True):
            window = self.reading.windows.get(each.container or "")
            if window is not None and each.low is not None and each.high is not None:
                share = (min(each.high, window[1]) - max(each.low, window[0])) / (window[1] - window[0])
                if each.high - each.low >= FEWEST_LEVELS and 255 * share + 1 < FEWEST_LEVELS:
                    found.append(file.id)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """The windows in words, and the number of images that lose values or grey levels in them."""
        notes, images = [*self.described], len(self.facts)
        clipped = sum(each.clipped > 0 for each in self.facts)
        if clipped and not self.reading.clip:
            notes.append(f"{clipped} of {images} images have values outside of the window, clipped")
        if dim := len(self.dim):
            notes.append(f"{dim} of {images} images keep fewer than {FEWEST_LEVELS} grey levels of more values")
        return tuple(notes)

    @property
    def windows(self) -> tuple[tuple[str, Window], ...] | None:
        """The windows as a matrix stores them, or None if there are no deep files."""
        return tuple(sorted(self.reading.windows.items())) or None

    def require(self, content: str | None) -> None:
        """Refuse files that differ from those of a matrix, and files whose values can be read in two ways.

        Args:
            content: the `identity` in the matrix, or None if it is not known yet.

        Raises:
            UserError: the files differ, or it is unclear which values are black and white.
        """
        if self.unclear is not None:
            raise UserError(self.unclear)
        if content not in (None, self.identity):
            raise UserError(
                f"{self.listing.source}: its images, classes, splits or groups have changed since the matrix was made. "
                "Give the new ones separate results with --name, and remove `content` from the matrix."
            )

    def part(self, keep: Iterable[bool], note: str) -> Scan:
        """Return a scan of some files; the note says why the others are left out, and is added to the listing's.

        Raises:
            UserError: a class has no image left.
        """
        chosen = list(keep)
        facts = list(itertools.compress(self.facts, chosen))
        return replace(self, listing=self.listing.part(chosen, note), facts=facts)


def scan(listing: Listing, source: DatasetSource, progress: Progress | None = None) -> Scan:
    """Return the scan of a dataset, from the cache or by opening every file.

    Args:
        listing: the files.
        source: entry of the matrix, which says how files are read; its windows, if any, are used as they are.
        progress: called with "hashing", "reading" and "scaling", if there is something to hash, read or scale.

    Raises:
        UserError: a file changes during the scan, or the cache folder cannot be written.
    """
    paths = [file.path for file in listing.files]
    hashed = [
        each if file.problem is None else FileHash("", file.problem)
        for file, each in zip(listing.files, hash_files(listing.name, paths, progress), strict=True)
    ]
    files = list(zip(paths, hashed, strict=True))
    pooled = [file.split != "test" for file in listing.files]
    reading = source.reading

    def open_all() -> pa.Table:
        return _open_all(files, pooled, functools.partial(_inspect, frames=reading.frames), progress)

    contents = ((*hashed, is_pooled) for (_, hashed), is_pooled in zip(files, pooled, strict=True))
    key = digest([list(decoder_versions().items()), (reading.frames,), *contents])
    table = load_or_make(listing.name, f"{key[:16]}-v{VERSION}.scan.parquet", open_all)
    scanned = Scan(listing, _rows(table), reading)
    deep = [position for position, each in enumerate(scanned.facts) if each.container is not None]
    if not deep:
        return scanned
    pools = unpack(base64.b64decode(table.schema.metadata[_POOLS]))
    if source.is_folder and source.content is None:
        scanned = _with_windows(scanned, source, pools)

    def look() -> pa.Table:
        work = functools.partial(_inspect_deep, reading=scanned.reading)
        found = map_files(work, [files[k] for k in deep], stage="scaling", progress=progress)
        return _table(each._replace(**_depth(scanned.facts[k])) for k, each in zip(deep, found, strict=True))

    key = digest([list(decoder_versions().items()), scanned.reading, *(files[k][1] for k in deep)])
    shown = _rows(load_or_make(listing.name, f"{key[:16]}-v{VERSION}.shown.parquet", look))
    facts = list(scanned.facts)
    for k, each in zip(deep, shown, strict=True):
        facts[k] = each
    return replace(scanned, facts=facts, described=tuple(describe(scanned.reading.windows, pools)))


def _with_windows(scanned: Scan, source: DatasetSource, pools: Mapping[str, Pool]) -> Scan:
    """Return a scan with the windows of its deep files, or with the reason why they are unclear."""
    listing = scanned.listing
    values = [
        Values(
            file.id,
            listing.classes[file.label],
            file.split,
            **({"container": EIGHT_BITS} if each.container is None else _depth(each)),
        )
        for file, each in zip(listing.files, scanned.facts, strict=True)
        if each.problem is None
    ]
    try:
        windows, unclear = find_windows(values, pools, source.value_range, listing.source), None
    except UserError as error:
        windows, unclear = own_ranges(values), str(error)
    reading = scanned.reading._replace(windows=windows, clip=unclear is not None or scanned.reading.clip)
    return replace(scanned, reading=reading, unclear=unclear)


def load_or_make(name: str, key: str, make: Callable[[], pa.Table]) -> pa.Table:
    """Return a table from the cache, made first if it is missing or damaged; see `locations.cache_file`."""
    from pyarrow.parquet import write_table

    target = cache_file("index", name, key)
    table = read_table(target)
    if table is None:
        target.unlink(missing_ok=True)
        with build_once(target) as temporary:
            if temporary is not None:
                table = make()
                write_table(table, temporary, compression="zstd")
    return table if table is not None else load_or_make(name, key, make)  # another process made it


def digest(rows: Iterable[Sequence[object]]) -> str:
    """Return the SHA-256 of rows of strings and numbers, 64 hexadecimal digits."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()


_POOLS = b"pools"
"""Key of the table's metadata with the values of the deep files that may decide windows."""

_DEPTH = ("container", "holds", "stated", "low", "high")


def _depth(facts: Facts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in _DEPTH}


def _open_all(
    files: Sequence[tuple[Path, FileHash]],
    pooled: Sequence[bool],
    work: Callable[[tuple[Path, FileHash]], tuple[Facts, Pool | None]],
    progress: Progress | None,
) -> pa.Table:
    pools = Pools()

    def rows() -> Iterator[Facts]:
        found = map_files(work, files, stage="reading", progress=progress)
        for (facts, pool), is_pooled in zip(found, pooled, strict=True):
            if pool is not None and facts.container is not None and is_pooled:
                pools.add(facts.container, pool)
            yield facts

    table = _table(rows())
    return table.replace_schema_metadata({_POOLS: base64.b64encode(pack(pools.merged()))})


def _table(rows: Iterable[Facts]) -> pa.Table:
    import pyarrow as pa

    window = pa.list_(pa.float64())
    columns = {"sha256": pa.string(), "problem": pa.string(), "kinds": pa.list_(pa.string())}
    columns |= {"pixels": pa.string(), "colour": pa.bool_(), "thumbnail": pa.binary(), "clipped": pa.int64()}
    columns |= {"container": pa.string(), "holds": window, "stated": window, "low": pa.float64(), "high": pa.float64()}
    return pa.Table.from_pylist([each._asdict() for each in rows], schema=pa.schema(columns))


def _rows(table: pa.Table) -> list[Facts]:
    rows = (Facts(*row) for row in zip(*(table[name].to_pylist() for name in Facts._fields), strict=True))
    return [
        each
        if each.container is None
        else each._replace(
            holds=None if each.holds is None else (each.holds[0], each.holds[1]),
            stated=None if each.stated is None else (each.stated[0], each.stated[1]),
        )
        for each in rows
    ]


def _read(file: tuple[Path, FileHash]) -> bytes | Facts:
    """Return a file's bytes, or the facts about a file that is not read."""
    path, (sha256, problem) = file
    if problem is not None:
        return Facts(sha256, problem, ["unreadable"])
    try:
        if path.stat().st_size > MOST_BYTES:
            return Facts(sha256, f"larger than {MOST_BYTES >> 30} GiB", ["enormous"])
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: can no longer be read ({error.strerror}). Run the command again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path}: its content changed while it was read. Run the command again once it is complete.")
    return content


def _inspect(file: tuple[Path, FileHash], frames: Frames) -> tuple[Facts, Pool | None]:
    """Return the facts about a file that need no windows, and the values of a deep file."""
    content, sha256 = _read(file), file[1].sha256
    if isinstance(content, Facts):
        return content, None
    kinds = _container(content)
    try:
        decoded = read_file(content, frames=frames)
    except BadImage as error:
        return Facts(sha256, str(error), [*kinds, error.kind]), None
    if isinstance(decoded, Image.Image):
        return _with_pixels(Facts(sha256, None, kinds), decoded), None
    values = decoded.values
    facts = Facts(
        sha256,
        None,
        [*kinds, "not 8-bit"],
        container=decoded.container,
        holds=decoded.holds,
        stated=decoded.stated,
        low=float(values.min()),
        high=float(values.max()),
    )
    return facts, count(values)


def _inspect_deep(file: tuple[Path, FileHash], reading: Reading) -> Facts:
    """Return the facts about a deep file, seen through its window."""
    content, sha256 = _read(file), file[1].sha256
    if isinstance(content, Facts):
        return content
    kinds = [*_container(content), "not 8-bit"]
    decoded = read_file(content, frames=reading.frames)
    try:
        image = to_image(decoded, reading.windows, clip=reading.clip)
    except BadImage as error:
        return Facts(sha256, str(error), [*kinds, error.kind])
    return _with_pixels(Facts(sha256, None, kinds, clipped=count_clipped(decoded, reading.windows)), image)


def _with_pixels(facts: Facts, image: Image.Image) -> Facts:
    return facts._replace(pixels=_hash_pixels(image), colour=has_colour(image), thumbnail=thumbnail(image))


def _hash_pixels(image: Image.Image) -> str:
    """Return a hash of the size and the channels; grey saved as colour counts as grey."""
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
            # Pillow decodes a PNG to find the EXIF data that may follow its pixels.
            has_exif = image.format != "PNG" or b"eXIf" in content or b"type exif" in content
            kinds = {
                "CMYK": image.mode == "CMYK",
                "palette": image.mode in ("P", "PA"),
                "RGBA": image.has_transparency_data and image.mode != "P",
                "EXIF-rotated": has_exif and image.getexif().get(ORIENTATION, 1) != 1,
            }
    except Exception:  # not for Pillow, or damaged: `read_file` reports it
        return []
    return [kind for kind, applies in kinds.items() if applies]
