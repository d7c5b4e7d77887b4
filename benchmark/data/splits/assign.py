"""Which split every image of a dataset is in: the official one, or one that is drawn here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SplitName
from benchmark.data.listing import Listing

if TYPE_CHECKING:
    import pyarrow as pa

FOLDS = 5
"""Of the cross-validation of small folders."""


class Assignment:
    """The split of every image: official, or drawn here.

    Attributes:
        splits: n words of `SPLITS`.
        groups: int64, shape (n,); -1 for training and validation images of official splits.
        notes: what was drawn, in words.
        comparable: under cross-validation, each image's fold: what stands in the fingerprint instead of the split, so
            that the folds of one dataset count as the same images.
    """

    def __init__(self, listing: Listing, scanned: pa.Table, labels: NDArray[np.int64], sha256: list[str]) -> None:
        self.splits: list[SplitName] = [file.split or "train" for file in listing.files]
        self.groups: NDArray[np.int64] = np.full(len(labels), -1, dtype=np.int64)
        self.notes: list[str] = []
        self.comparable: list[str] | None = None
        self._clips = [file.clip for file in listing.files]
        self._scanned, self._labels, self._sha256 = scanned, labels, sha256

    def _thumbnails(self) -> NDArray[np.uint8]:
        joined = b"".join(self._scanned["thumbnail"].to_pylist())
        return np.frombuffer(joined, np.uint8).reshape(len(self._labels), -1)

    def _group(self, pool: NDArray[np.int64], *, tested: bool = False) -> str:
        """Find the groups among some images, to be split or to be tested; return in words what they are."""
        from benchmark.data.splits.near_duplicates import LARGEST_SHARE, LARGEST_SHARE_OF_TEST, find_groups

        found = find_groups(
            self._thumbnails()[pool],
            self._labels[pool],
            [self._sha256[i] for i in pool],
            [self._clips[i] for i in pool],
            LARGEST_SHARE_OF_TEST if tested else LARGEST_SHARE,
        )
        self.groups[pool] = found.ids + self.groups.max(initial=-1) + 1
        how = f"near-duplicates within {found.limit:.1f} grey levels" if found.limit else "clips or equal files"
        return f"whole groups ({len(set(found.ids.tolist()))} groups of {how} among {len(pool)} images)"

    def deal(self, split_seed: int, fold: int) -> None:
        """Deal all images into folds; ``fold`` becomes the test split, the rest train."""
        from benchmark.data.splits.draw import folds

        how = self._group(np.arange(len(self._labels), dtype=np.int64))
        dealt = folds(self._labels, self.groups, FOLDS, split_seed).tolist()
        self.splits = ["test" if mine == fold else "train" for mine in dealt]
        self.comparable = [f"fold {mine}" for mine in dealt]
        self.notes.append(
            f"cross-validation: the seed chooses one of {FOLDS} folds as the test split, stratified, {how}, "
            f"split_seed {split_seed}"
        )

    def complete(self, split_seed: int) -> None:
        """Draw the splits that are missing."""
        from benchmark.data.splits.draw import FRACTION, draw

        wanted: list[tuple[SplitName, float]] = []
        if "test" not in self.splits:
            wanted.append(("test", FRACTION))
        if "validation" not in self.splits:
            wanted.append(("validation", FRACTION / (1 - FRACTION) if wanted else FRACTION))
        pool = self._positions("train")
        if not wanted or not len(pool):
            return
        how = "" if (self.groups[pool] >= 0).all() else self._group(pool)
        for split, fraction in wanted:
            rest = self._positions("train")
            drawn = draw(
                self._labels[rest],
                self.groups[rest],
                self._thumbnails()[rest],
                fraction=fraction,
                seed=split_seed,
                purpose=split,
            )
            for i in rest[drawn].tolist():
                self.splits[i] = split
            self.notes.append(
                f"{split} split: drawn here, {int(drawn.sum())} of {len(rest)} images, stratified, "
                f"{how or 'whole groups'}, split_seed {split_seed}"
            )

    def group_tests(self) -> None:
        """Find the groups among the test images of an official split; images drawn here have theirs."""
        pool = self._positions("test")
        if len(pool) and (self.groups[pool] < 0).any():
            self._group(pool, tested=True)

    def _positions(self, split: SplitName) -> NDArray[np.int64]:
        return np.array([i for i, word in enumerate(self.splits) if word == split], dtype=np.int64)
