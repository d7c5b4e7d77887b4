"""The content hash, colour, group and split of every image of a dataset, kept as Parquet in the cache folder.

Two files, both keyed by the listing (names, sizes and times of change), so that reopening reads no image: the *scan*
holds what was found by opening every file once; the *index* adds groups and splits for one ``split_seed``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SplitName
from benchmark.data.decoding.pixels import (
    THUMBNAIL,
    WHOLE,
    BadImage,
    has_colour,
    read_file,
    thumbnail,
    to_image,
)
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.listing import Listing, make_listing
from benchmark.errors import UserError
from benchmark.files import building
from benchmark.locations import cache_directory

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 6
"""Version of the two files; raised whenever their columns, or the way splits are drawn, change."""

_SHOWN = 20  # bad images that a message names


@dataclass(frozen=True)
class Index:
    """A dataset's images in the order of their ids.

    Attributes:
        ids: n names.
        sha256: n content hashes, hexadecimal.
        labels: int64, shape (n,).
        splits: n words of `SPLITS`.
        groups: int64, shape (n,): images of one group are of one clip, or near-duplicates; -1 for training and
            validation images of official splits.
        fingerprint: 64 hexadecimal digits over every image's name, content, class, and official split, drawn test split
            or fold. A drawn validation split is not in it: runs that differ in it alone are comparable.
        content: 64 hexadecimal digits over names and contents alone.
        colour: whether any image has colour: red, green and blue differ somewhere, whatever the files' modes.
        notes: how missing splits were drawn, in words.
    """

    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: tuple[SplitName, ...]
    groups: NDArray[np.int64]
    fingerprint: str
    content: str
    colour: bool
    notes: tuple[str, ...]

    def positions(self, split: SplitName) -> NDArray[np.int64]:
        """Return the positions of a split's images, ascending, int64."""
        return np.flatnonzero(np.array(self.splits) == split)


def scan(listing: Listing, progress: Progress | None = None) -> pa.Table:
    """Return what opening every file found, one row per image, in the listing's order, from the cache if it is there.

    Columns: id; sha256; colour, whether the channels of any pixel differ, whatever the file's mode; thumbnail
    (`pixels.thumbnail`); problem, null if the file can be decoded.

    Raises:
        UserError: the cache folder cannot be written.
    """
    return _cached(f"{listing.name}-{listing.key}-v{VERSION}.scan.parquet", lambda: _scan(listing, progress))


def thumbnails(scanned: pa.Table) -> NDArray[np.uint8]:
    """Return the grey thumbnails of a scan without bad images, shape (n, `THUMBNAIL`, `THUMBNAIL`, 1)."""
    joined = b"".join(scanned["thumbnail"].to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(scanned.num_rows, THUMBNAIL, THUMBNAIL, 1)


def _cached(name: str, make: Callable[[], pa.Table]) -> pa.Table:
    """Return a table of the cache, made first if it does not exist."""
    from pyarrow import BufferReader  # not needed to plan runs on datasets of the catalogue
    from pyarrow.parquet import ParquetFile, write_table

    target = cache_directory() / "index" / name
    if not target.exists():
        with building(target) as temporary:
            if temporary is not None:
                write_table(make(), temporary, compression="zstd")
    # in this thread: pyarrow's own could end the process in which others are started or end
    return ParquetFile(BufferReader(target.read_bytes())).read(use_threads=False)


def _scan(listing: Listing, progress: Progress | None) -> pa.Table:
    import pyarrow as pa

    found = map_files(_inspect, [file.path for file in listing.files], stage="reading", progress=progress)
    rows = [{"id": file.id, **facts} for file, facts in zip(listing.files, found, strict=True)]
    columns = {"id": pa.string(), "sha256": pa.string(), "colour": pa.bool_()}
    columns |= {"thumbnail": pa.binary(), "problem": pa.string()}
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))


def _inspect(path: Path) -> dict[str, Any]:
    """Return one row of the scan without its id."""
    facts: dict[str, Any] = {"sha256": "", "colour": False, "thumbnail": b"", "problem": None}
    try:
        content = path.read_bytes()
        facts["sha256"] = hashlib.sha256(content).hexdigest()
        image = to_image(read_file(content), WHOLE)
    except OSError as error:
        return {**facts, "problem": f"cannot be read: {error.strerror}"}
    except BadImage as error:
        return {**facts, "problem": str(error)}
    return {**facts, "colour": has_colour(image), "thumbnail": thumbnail(image)}


def open_index(
    listing: Listing, split_seed: int, *, fold: int | None = None, progress: Progress | None = None
) -> Index:
    """Return a dataset's index, made if the cache does not hold it; see `assign.assign` for the splits.

    Args:
        listing: the dataset's files.
        split_seed: draws a missing validation split.
        fold: of a cross-validation, the one that is the test split, or None for one test split, its own or drawn.
        progress: called with "reading".

    Raises:
        UserError: images cannot be decoded (all are named), or a split would be empty.
    """
    drawn = fold is not None or not listing.sizes["validation"]
    part = (f"-s{split_seed}" if drawn else "") + ("" if fold is None else f"-fold{fold}")
    name = f"{listing.name}-{listing.key}{part}-v{VERSION}.parquet"
    table = _cached(name, lambda: _make(listing, scan(listing, progress), split_seed, fold))
    facts = json.loads(table.schema.metadata[b"benchmark"])
    return Index(
        ids=tuple(table["path"].to_pylist()),
        sha256=tuple(table["sha256"].to_pylist()),
        labels=table["label"].to_numpy().astype(np.int64),
        splits=tuple(table["split"].to_pylist()),
        groups=table["group"].to_numpy().astype(np.int64),
        fingerprint=facts["fingerprint"],
        content=facts["content"],
        colour=any(table["colour"].to_pylist()),
        notes=tuple(facts["notes"]),
    )


def without_bad_images(listing: Listing, progress: Progress | None = None) -> Listing:
    """Return a listing without the images that cannot be decoded; its notes say how many were left out.

    Raises:
        UserError: a class has no image left.
    """
    problems = scan(listing, progress)["problem"].to_pylist()
    good = [file for file, problem in zip(listing.files, problems, strict=True) if problem is None]
    if len(good) == len(listing.files):
        return listing
    note = f"{len(listing.files) - len(good)} of {len(listing.files)} images dropped: they cannot be decoded"
    notes = (*listing.notes, note)
    return make_listing(listing.name, listing.source, listing.classes, good, notes=notes)


def _make(listing: Listing, scanned: pa.Table, split_seed: int, fold: int | None) -> pa.Table:
    import pyarrow as pa

    from benchmark.data.splits.assign import assign  # with scipy, which planning does not need

    problems = zip(listing.files, scanned["problem"].to_pylist(), strict=True)
    bad = [f"{file.path}: {problem}" for file, problem in problems if problem is not None]
    if bad:
        lines = [
            f"dataset {listing.source}: {len(bad)} of {len(listing.files)} images cannot be used. "
            f"`python -m benchmark datasets check {listing.source}` lists all of them; fix or remove them.",
            *bad[:_SHOWN],
        ]
        raise UserError("\n".join(lines + [f"… and {len(bad) - _SHOWN} more"] * (len(bad) > _SHOWN)))
    sha256: list[str] = scanned["sha256"].to_pylist()
    assigned = assign(listing, thumbnails(scanned).reshape(len(sha256), -1), sha256, split_seed, fold)
    ids = [file.id for file in listing.files]
    named = [listing.classes[file.label] for file in listing.files]
    facts = {
        "fingerprint": _digest(zip(ids, sha256, named, assigned.comparable, strict=True)),
        "content": _digest(zip(ids, sha256, strict=True)),
        "notes": [*listing.notes, *assigned.notes],
    }
    table = pa.table(
        {
            "path": ids,
            "label": [file.label for file in listing.files],
            "split": assigned.splits,
            "group": assigned.groups,
            "colour": scanned["colour"],
            "sha256": sha256,
        }
    )
    return table.replace_schema_metadata({b"benchmark": json.dumps(facts).encode()})


def _digest(rows: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()
