"""The split of every image of a dataset: the official one, or one that is drawn here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SPLITS, SplitName
from benchmark.data.folders import FOLDS
from benchmark.data.listing import Listing
from benchmark.data.splits.draw import FRACTION, draw, draw_folds
from benchmark.data.splits.near_duplicates import LARGEST_SHARE, LARGEST_SHARE_OF_TEST, Thumbnails, find_groups
from benchmark.errors import UserError


class Assignment:
    """The split of every image: official, or drawn here.

    Attributes:
        splits: n words of `SPLITS`.
        groups: int64, shape (n,); -1 for training and validation images of official splits.
        notes: what was drawn, in words.
        comparable: each image's fold, or None without cross-validation. It is part of the fingerprint in place of the
            split, so that the folds of one dataset count as the same images.
    """

    def __init__(self, listing: Listing, thumbnails: Thumbnails, sha256: list[str]) -> None:
        self.splits: list[SplitName] = [file.split or "train" for file in listing.files]
        self.groups = np.full(len(sha256), -1, dtype=np.int64)
        self.notes: list[str] = []
        self.comparable: list[str] | None = None
        self._labels = np.array([file.label for file in listing.files], dtype=np.int64)
        self._clips = [file.clip for file in listing.files]
        self._thumbnails, self._sha256 = thumbnails, sha256

    def draw_folds(self, split_seed: int, fold: int) -> None:
        """Draw the fold of every image; ``fold`` becomes the test split, the others train."""
        how = self._find_groups(np.arange(len(self._labels)))
        folds = draw_folds(self._labels, self.groups, FOLDS, split_seed).tolist()
        self.splits = ["test" if mine == fold else "train" for mine in folds]
        self.comparable = [f"fold {mine}" for mine in folds]
        self.notes.append(
            f"cross-validation: the seed chooses one of {FOLDS} folds as the test split, stratified, {how}, "
            f"split_seed {split_seed}"
        )

    def draw_missing(self, split_seed: int) -> None:
        """Draw the splits that are missing."""
        wanted: list[tuple[SplitName, float]] = []
        if "test" not in self.splits:
            wanted.append(("test", FRACTION))
        if "validation" not in self.splits:
            wanted.append(("validation", FRACTION / (1 - FRACTION) if wanted else FRACTION))
        pool = self._positions("train")
        if not wanted or not len(pool):
            return
        how = "whole groups" if (self.groups[pool] >= 0).all() else self._find_groups(pool)
        for split, fraction in wanted:
            rest = self._positions("train")
            drawn = draw(
                self._labels[rest],
                self.groups[rest],
                self._thumbnails[rest],
                fraction=fraction,
                seed=split_seed,
                purpose=split,
            )
            for i in rest[drawn].tolist():
                self.splits[i] = split
            self.notes.append(
                f"{split} split: drawn here, {int(drawn.sum())} of {len(rest)} images, stratified, "
                f"{how}, split_seed {split_seed}"
            )

    def group_tests(self) -> None:
        """Find the groups among the test images of an official split; images drawn here have theirs."""
        pool = self._positions("test")
        if len(pool) and (self.groups[pool] < 0).any():
            self._find_groups(pool, LARGEST_SHARE_OF_TEST)

    def _find_groups(self, pool: NDArray[np.int64], largest_share: float = LARGEST_SHARE) -> str:
        """Find the groups among some images and return in words what they are."""
        ids, limit = find_groups(
            self._thumbnails[pool],
            self._labels[pool],
            [self._sha256[i] for i in pool],
            [self._clips[i] for i in pool],
            largest_share,
        )
        self.groups[pool] = ids + self.groups.max(initial=-1) + 1
        how = f"near-duplicates within {limit:.1f} grey levels" if limit else "clips or equal files"
        return f"whole groups ({len(set(ids.tolist()))} groups of {how} among {len(pool)} images)"

    def _positions(self, split: SplitName) -> NDArray[np.int64]:
        return np.flatnonzero(np.array(self.splits) == split)


def assign(listing: Listing, thumbnails: Thumbnails, sha256: list[str], split_seed: int, fold: int) -> Assignment:
    """Return the split of every image.

    Missing splits are drawn: test from all images (15 %) if it is missing, then validation (as many) from train; by
    group, stratified. If the listing asks for cross-validation, all images are spread over `FOLDS` folds; fold ``fold``
    is the test split, and validation is drawn from the others.

    Args:
        listing: the dataset's files.
        thumbnails: uint8, shape (n, pixels), see `pixels.thumbnail`.
        sha256: n content hashes.
        split_seed: of the matrix.
        fold: 0 .. `FOLDS` - 1.

    Raises:
        UserError: a split is left without images.
    """
    assigned = Assignment(listing, thumbnails, sha256)
    if listing.folds:
        assigned.draw_folds(split_seed, fold)
    assigned.draw_missing(split_seed)
    assigned.group_tests()
    for split in SPLITS:
        if split not in assigned.splits:
            raise UserError(f"dataset {listing.source}: no image is left for the {split} split; it has too few images.")
    return assigned
