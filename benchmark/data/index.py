"""The index: what every image of a dataset is, and which split it is in, kept as parquet in the cache folder.

Two files, both keyed by the listing (names, sizes and times of change), so that reopening reads no image: the *scan*
holds what was found by opening every file once; the *index* adds groups and splits for one ``split_seed``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SPLITS, SplitName
from benchmark.data.decoding.pixels import BadImage, has_colour, read_image, thumbnail
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.listing import Listing, make_listing
from benchmark.data.splits.assign import Assignment
from benchmark.errors import UserError
from benchmark.files import building
from benchmark.locations import cache_directory

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 5
"""Of the two files; raised whenever what they hold, or how splits are drawn, changes."""

_SHOWN = 20


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
        fingerprint: 64 hexadecimal digits over every image's name, content, class and split.
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
        return np.array([i for i, word in enumerate(self.splits) if word == split], dtype=np.int64)


def scan(listing: Listing, progress: Progress | None = None) -> pa.Table:
    """Return what opening every file found, one row an image, in the listing's order; from the cache where it is there.

    Columns: id; sha256; colour, whether the channels of any pixel differ, whatever the file's mode; thumbnail
    (`pixels.thumbnail`); problem, null if the file can be decoded.

    Raises:
        UserError: the cache folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = cache_directory() / "index" / f"{listing.name}-{listing.key}-v{VERSION}.scan.parquet"
    if not target.exists():
        with building(target) as temporary:
            if temporary is not None:
                paths = [file.path for file in listing.files]
                found = map_files(_facts_of, paths, stage="reading", progress=progress)
                rows = [{"id": file.id, **facts} for file, facts in zip(listing.files, found, strict=True)]
                schema = pa.schema(
                    [
                        ("id", pa.string()),
                        ("sha256", pa.string()),
                        ("colour", pa.bool_()),
                        ("thumbnail", pa.binary()),
                        ("problem", pa.string()),
                    ]
                )
                pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
    return pq.read_table(target)


def _facts_of(path: Path) -> dict[str, Any]:
    """Return one row of the scan but for the id; what was not found is empty."""
    facts: dict[str, Any] = {"sha256": "", "colour": False, "thumbnail": b"", "problem": None}
    try:
        content = path.read_bytes()
        facts["sha256"] = hashlib.sha256(content).hexdigest()
        image = read_image(content)
    except OSError as error:
        return {**facts, "problem": f"cannot be read: {error.strerror}"}
    except BadImage as error:
        return {**facts, "problem": str(error)}
    return {**facts, "colour": has_colour(image), "thumbnail": thumbnail(image)}


def open_index(listing: Listing, split_seed: int, *, fold: int = 0, progress: Progress | None = None) -> Index:
    """Return a dataset's index, made where the cache does not hold it.

    Missing splits are drawn: test from all images (15 %) where there is none, then validation (as many) from train; by
    group, stratified, from ``split_seed``. Where the listing asks for cross-validation, all images are dealt into
    `assignment.FOLDS` folds; fold ``fold`` is the test split, and validation is drawn from the others.

    Raises:
        UserError: images cannot be decoded (all are named), or a split would be empty.
    """
    import pyarrow.parquet as pq

    part = f"s{split_seed}" + (f"-fold{fold}" if listing.folds else "")
    target = cache_directory() / "index" / f"{listing.name}-{listing.key}-{part}-v{VERSION}.parquet"
    if not target.exists():
        scanned = scan(listing, progress)
        _refuse_bad_images(listing, scanned)
        with building(target) as temporary:
            if temporary is not None:
                pq.write_table(_make(listing, scanned, split_seed, fold), temporary, compression="zstd")
    table = pq.read_table(target)
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
    return make_listing(listing.name, listing.source, listing.classes, good, folds=listing.folds, notes=notes)


def _refuse_bad_images(listing: Listing, scanned: pa.Table) -> None:
    bad = [
        f"{file.path}: {problem}"
        for file, problem in zip(listing.files, scanned["problem"].to_pylist(), strict=True)
        if problem is not None
    ]
    if bad:
        more = [f"… and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise UserError(
            "\n".join(
                [
                    f"dataset {listing.source}: {len(bad)} of {len(listing.files)} images cannot be used. "
                    f"`python -m benchmark datasets check {listing.source}` lists all of them; mend or remove them.",
                    *bad[:_SHOWN],
                    *more,
                ]
            )
        )


def _make(listing: Listing, scanned: pa.Table, split_seed: int, fold: int) -> pa.Table:
    import pyarrow as pa

    labels = np.array([file.label for file in listing.files], dtype=np.int64)
    sha256: list[str] = scanned["sha256"].to_pylist()
    assigned = Assignment(listing, scanned, labels, sha256)
    if listing.folds:
        assigned.deal(split_seed, fold)
    assigned.complete(split_seed)
    assigned.group_tests()
    for split in SPLITS:
        if split not in assigned.splits:
            raise UserError(f"dataset {listing.source}: no image is left for the {split} split; it has too few images.")
    ids = [file.id for file in listing.files]
    named = [listing.classes[label] for label in labels.tolist()]
    facts = {
        "fingerprint": _digest(zip(ids, sha256, named, assigned.comparable or assigned.splits, strict=True)),
        "content": _digest(zip(ids, sha256, strict=True)),
        "notes": [*listing.notes, *assigned.notes],
    }
    table = pa.table(
        {
            "path": ids,
            "label": labels,
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
