"""The index: what every image of a dataset is, and which split it is in, kept as parquet in the cache folder.

Two files, both keyed by the listing (names, sizes and times of change), so that reopening reads no image: the *scan*
holds what was found by opening every file once; the *index* adds groups and splits for one ``split_seed``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.catalogue import SPLITS, SplitName
from benchmark.datasets.layouts import Listing
from benchmark.datasets.locations import cache_directory
from benchmark.datasets.parallel import Progress, map_files
from benchmark.datasets.storage import building
from benchmark.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from benchmark.datasets.groups import Groups

VERSION = 2
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
        groups: int64, shape (n,): images of one group are near-duplicates; -1 where no split had to be drawn.
        fingerprint: 64 hexadecimal digits over every image's name, content, class and split.
        content: 64 hexadecimal digits over names and contents alone.
        notes: how missing splits were drawn, in words.
    """

    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: tuple[SplitName, ...]
    groups: NDArray[np.int64]
    fingerprint: str
    content: str
    notes: tuple[str, ...]

    def positions(self, split: SplitName) -> NDArray[np.int64]:
        """Return the positions of a split's images, ascending, int64."""
        return np.array([i for i, word in enumerate(self.splits) if word == split], dtype=np.int64)


def scan(listing: Listing, progress: Progress | None = None) -> pa.Table:
    """Return what opening every file found, one row an image, in the listing's order; from the cache where it is there.

    Columns: id, bytes, sha256, width, height, mode, thumbnail (576 bytes), problem (null where it can be decoded).

    Raises:
        UserError: the cache folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = cache_directory() / "index" / f"{listing.name}-{listing.key}-v{VERSION}.scan.parquet"
    if not target.exists():
        with building(target) as temporary:
            if temporary is not None:
                items = [[file.id, str(file.path)] for file in listing.files]
                found: dict[str, dict[str, Any]] = dict(
                    map_files({"kind": "scan"}, items, stage="reading", progress=progress)
                )
                rows = [{"id": file.id, **found[file.id]} for file in listing.files]
                for row in rows:
                    row["thumbnail"] = base64.b64decode(row["thumbnail"])
                pq.write_table(pa.Table.from_pylist(rows, schema=_scan_schema()), temporary, compression="zstd")
    return pq.read_table(target)


def _scan_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("bytes", pa.int64()),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("mode", pa.string()),
            ("thumbnail", pa.binary()),
            ("problem", pa.string()),
        ]
    )


def open_index(listing: Listing, split_seed: int, progress: Progress | None = None) -> Index:
    """Return a dataset's index, made where the cache does not hold it.

    Missing splits are drawn: test from all images (15 %) where there is none, then validation (as many) from train; by
    group, stratified, from ``split_seed``.

    Raises:
        UserError: images cannot be decoded (all are named), or a split would be empty.
    """
    import pyarrow.parquet as pq

    target = cache_directory() / "index" / f"{listing.name}-{listing.key}-s{split_seed}-v{VERSION}.parquet"
    if not target.exists():
        scanned = scan(listing, progress)
        _refuse_bad_images(listing, scanned)
        with building(target) as temporary:
            if temporary is not None:
                pq.write_table(_make(listing, scanned, split_seed), temporary, compression="zstd")
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
        notes=tuple(facts["notes"]),
    )


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
                    f"dataset {listing.name}: {len(bad)} of {len(listing.files)} images cannot be used. "
                    f"`python -m benchmark datasets check {listing.name}` lists all of them; mend or remove them.",
                    *bad[:_SHOWN],
                    *more,
                ]
            )
        )


def _make(listing: Listing, scanned: pa.Table, split_seed: int) -> pa.Table:
    import pyarrow as pa

    labels = np.array([file.label for file in listing.files], dtype=np.int64)
    sha256 = scanned["sha256"].to_pylist()
    splits, groups, notes = _complete(listing, scanned, labels, split_seed)
    for split in SPLITS:
        if split not in splits:
            raise UserError(f"dataset {listing.name}: no image is left for the {split} split; it has too few images.")
    ids = [file.id for file in listing.files]
    named = [listing.classes[label] for label in labels.tolist()]
    facts = {
        "fingerprint": _digest(zip(ids, sha256, named, splits, strict=True)),
        "content": _digest(zip(ids, sha256, strict=True)),
        "notes": notes,
    }
    table = pa.table(
        {
            "path": ids,
            "label": labels,
            "class": named,
            "split": splits,
            "group": groups,
            "bytes": scanned["bytes"],
            "width": scanned["width"],
            "height": scanned["height"],
            "mode": scanned["mode"],
            "sha256": sha256,
        }
    )
    return table.replace_schema_metadata({b"benchmark": json.dumps(facts).encode()})


def _digest(rows: Any) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _complete(
    listing: Listing, scanned: pa.Table, labels: NDArray[np.int64], split_seed: int
) -> tuple[list[SplitName], NDArray[np.int64], list[str]]:
    """Return (split of each image, group of each image, notes): official splits, and the missing ones drawn."""
    from benchmark.datasets.groups import find_groups
    from benchmark.datasets.splits import FRACTION, draw

    splits: list[SplitName] = [file.split or "train" for file in listing.files]
    groups = np.full(len(labels), -1, dtype=np.int64)
    wanted: list[tuple[SplitName, float]] = []
    if "test" not in splits:
        wanted.append(("test", FRACTION))
    if "validation" not in splits:
        wanted.append(("validation", FRACTION / (1 - FRACTION) if wanted else FRACTION))
    if not wanted:
        return splits, groups, []
    pool = np.array([i for i, split in enumerate(splits) if split == "train"], dtype=np.int64)
    thumbnails = np.frombuffer(b"".join(scanned["thumbnail"].to_pylist()), np.uint8).reshape(len(labels), -1)
    sha256 = scanned["sha256"].to_pylist()
    found = find_groups(
        thumbnails[pool], labels[pool], [sha256[i] for i in pool], [listing.files[i].clip for i in pool]
    )
    groups[pool] = found.ids
    notes = []
    for split, fraction in wanted:
        rest = pool[[splits[i] == "train" for i in pool]]
        drawn = draw(labels[rest], groups[rest], thumbnails[rest], fraction=fraction, seed=split_seed, purpose=split)
        for i in rest[drawn].tolist():
            splits[i] = split
        notes.append(_note(split, int(drawn.sum()), len(rest), len(pool), found, split_seed))
    return splits, groups, notes


def _note(split: SplitName, drawn: int, of: int, pool: int, groups: Groups, split_seed: int) -> str:
    how = f"near-duplicates within {groups.limit:.1f} grey levels" if groups.limit else "clips or equal files"
    return (
        f"{split} split: drawn here, {drawn} of {of} images, stratified, whole groups ({len(set(groups.ids.tolist()))} "
        f"groups of {how} among {pool} images), split_seed {split_seed}"
    )


def index_files(name: str) -> list[Path]:
    """Return the cached index and scan files of a dataset."""
    return sorted((cache_directory() / "index").glob(f"{name}-*.parquet"))
