"""The split and the group of every image of a dataset, for one ``split_seed``.

They are cached as Parquet, by a hash of the files' names, contents, classes, splits and clips.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SplitName
from benchmark.data.scan import VERSION, Scan, digest, load_or_make
from benchmark.data.value_range import Reading

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Index:
    """A dataset's images in the order of their ids.

    Attributes:
        scanned: the images, without unusable ones.
        labels: int64, shape (n,).
        splits: n names from `SPLITS`.
        groups: int64, shape (n,): equal for images of one clip and for near-duplicates; -1 for training and validation
            images of official splits.
        fingerprint: hash of every image's name, content, class, and official split, drawn test split or fold, and of
            the windows, 64 hexadecimal digits. A drawn validation split is not included: runs that differ only in it
            are comparable.
        content: hash of only the names, contents and windows, 64 hexadecimal digits.
        fold: the fold of a cross-validation that is the test split, or None if there is one test split.
        notes: sentences on what is left out and how missing splits were drawn.
    """

    scanned: Scan
    labels: NDArray[np.int64]
    splits: tuple[SplitName, ...]
    groups: NDArray[np.int64]
    fingerprint: str
    content: str
    fold: int | None
    notes: tuple[str, ...]

    def positions(self, split: SplitName) -> NDArray[np.int64]:
        """Return the positions of a split's images, ascending, int64."""
        return np.flatnonzero(np.array(self.splits) == split)


def open_index(scanned: Scan, split_seed: int, *, fold: int | None = None) -> Index:
    """Return a dataset's index, from the cache or newly made; see `assign.assign` for the splits.

    Args:
        scanned: the dataset's images, all of which can be decoded.
        split_seed: seed of a missing validation split.
        fold: the fold of a cross-validation that is the test split, or None for one test split, official or drawn.

    Raises:
        UserError: a split would be empty.
    """
    listing = scanned.listing
    drawn = fold is not None or not listing.sizes["validation"]
    part = (f"-s{split_seed}" if drawn else "") + ("" if fold is None else f"-fold{fold}")
    key = digest([(scanned.identity, listing.classes), *_windows(scanned)])[:16]
    table = load_or_make(listing.name, f"{key}{part}-v{VERSION}.parquet", lambda: _make(scanned, split_seed, fold))
    facts = json.loads(table.schema.metadata[b"benchmark"])
    return Index(
        scanned=scanned,
        labels=np.array([file.label for file in listing.files], dtype=np.int64),
        splits=tuple(table["split"].to_pylist()),
        groups=table["group"].to_numpy().astype(np.int64),
        fingerprint=facts["fingerprint"],
        content=facts["content"],
        fold=fold,
        notes=(*listing.notes, *facts["notes"]),
    )


def _make(scanned: Scan, split_seed: int, fold: int | None) -> pa.Table:
    import pyarrow as pa

    from benchmark.data.splits.assign import assign  # imports scipy, which planning does not need

    listing, sha256 = scanned.listing, [each.sha256 for each in scanned.facts]
    copies = [each.pixels for each in scanned.facts]
    thumbnails = scanned.thumbnails.reshape(len(copies), -1)
    assigned = assign(listing, thumbnails, copies, split_seed, fold)
    ids = [file.id for file in listing.files]
    named = [listing.classes[file.label] for file in listing.files]
    facts = {
        "fingerprint": digest([*_windows(scanned), *zip(ids, sha256, named, assigned.comparable, strict=True)]),
        "content": digest([*_windows(scanned), *zip(ids, sha256, strict=True)]),
        "notes": assigned.notes,
    }
    table = pa.table({"split": assigned.splits, "group": assigned.groups})
    return table.replace_schema_metadata({b"benchmark": json.dumps(facts).encode()})


def _windows(scanned: Scan) -> list[Reading]:
    """Return the reading of deep files as a row of a digest, or no row without such files."""
    return [scanned.reading] if scanned.reading.windows else []
