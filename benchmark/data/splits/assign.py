"""The split of every image of a dataset, official or drawn here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import SPLITS, SplitName
from benchmark.data.listing import Listing
from benchmark.data.splits.distances import Thumbnails
from benchmark.data.splits.draw import TEST_SEED, draw, draw_folds
from benchmark.data.splits.near_duplicates import find_groups
from benchmark.data.splits.rules import FOLDS, FRACTION, LARGEST_SHARE, LARGEST_SHARE_OF_TEST
from benchmark.errors import UserError


class Assignment:
    """The split of every image: official, or drawn here.

    Attributes:
        splits: n words of `SPLITS`.
        groups: int64, shape (n,); -1 for training and validation images of official splits.
        notes: sentences on what was drawn.
        comparable: each image's fold, or its split before validation was drawn. The fingerprint holds it, so that runs
            which are tested on the same images share one, whatever their validation images.
    """

    def __init__(self, listing: Listing, thumbnails: Thumbnails, copies: Sequence[object]) -> None:
        self.splits: list[SplitName] = [file.split or "train" for file in listing.files]
        self.groups = np.full(len(copies), -1, dtype=np.int64)
        self.notes: list[str] = []
        self.comparable: list[str] = []
        self._labels = np.array([file.label for file in listing.files], dtype=np.int64)
        self._clips = [file.clip for file in listing.files]
        self._thumbnails, self._copies = thumbnails, copies

    def draw_folds(self, fold: int) -> None:
        """Draw the fold of every image; number ``fold`` becomes the test split, the others train."""
        how = self._find_groups(np.arange(len(self._labels)))
        folds = draw_folds(self._labels, self.groups, FOLDS, TEST_SEED).tolist()
        self.splits = ["test" if mine == fold else "train" for mine in folds]
        self.comparable = [f"fold {mine}" for mine in folds]
        self.notes.append(
            f"cross-validation: the seed chooses one of {FOLDS} folds as the test split, stratified, {how}"
        )

    def draw_missing(self, split: SplitName, fraction: float, seed: int, origin: str) -> bool:
        """Draw a split from the training images if it is missing; return whether it was drawn."""
        pool = self._positions("train")
        if split in self.splits or not len(pool):
            return False
        how = "whole groups" if (self.groups[pool] >= 0).all() else self._find_groups(pool)
        labels, groups, thumbnails = self._labels[pool], self.groups[pool], self._thumbnails[pool]
        drawn = draw(labels, groups, thumbnails, fraction=fraction, seed=seed, purpose=split)
        for i in pool[drawn].tolist():
            self.splits[i] = split
        self.notes.append(f"{split} split: drawn here, {origin}, stratified, {how}")
        return True

    def group_tests(self) -> None:
        """Find the groups among the test images of an official split; images drawn here have theirs."""
        pool = self._positions("test")
        if len(pool) and (self.groups[pool] < 0).any():
            self._find_groups(pool, LARGEST_SHARE_OF_TEST)

    def _find_groups(self, pool: NDArray[np.int64], largest_share: float = LARGEST_SHARE) -> str:
        """Find the groups among some images and return a description of them."""
        ids, limit = find_groups(
            self._thumbnails[pool],
            self._labels[pool],
            [self._copies[i] for i in pool],
            [self._clips[i] for i in pool],
            largest_share,
        )
        self.groups[pool] = ids + self.groups.max(initial=-1) + 1
        how = f"near-duplicates within {limit:.1f} grey levels" if limit else "clips or equal files"
        return f"whole groups ({len(set(ids.tolist()))} groups of {how} among {len(pool)} images)"

    def _positions(self, split: SplitName) -> NDArray[np.int64]:
        return np.flatnonzero(np.array(self.splits) == split)


def assign(
    listing: Listing, thumbnails: Thumbnails, copies: Sequence[object], split_seed: int, fold: int | None
) -> Assignment:
    """Return the split of every image.

    Missing splits are drawn: test from all images (15 %), always the same; then validation (as many) from train; by
    group, stratified. In a cross-validation all images are spread over `FOLDS` folds, always the same; fold ``fold`` is
    the test split, and validation is drawn from the others.

    Args:
        listing: the dataset's files.
        thumbnails: uint8, shape (n, pixels), see `pixels.thumbnail`.
        copies: n values, equal for images of equal pixels.
        split_seed: the run's seed for drawing the validation split.
        fold: 0 .. `FOLDS` - 1 of a cross-validation, or None.

    Raises:
        UserError: a split is left without images.
    """
    assigned = Assignment(listing, thumbnails, copies)
    fraction = FRACTION
    if fold is not None:
        assigned.draw_folds(fold)
    else:
        if assigned.draw_missing("test", FRACTION, TEST_SEED, "the same for every split_seed"):
            fraction = FRACTION / (1 - FRACTION)
        assigned.comparable = [*assigned.splits]
    assigned.draw_missing("validation", fraction, split_seed, "from split_seed")
    assigned.group_tests()
    for split in SPLITS:
        if split not in assigned.splits:
            groups = len(set(assigned.groups[assigned.groups >= 0].tolist()))
            raise UserError(
                f"dataset {listing.source}: no image is left for the {split} split: its {len(listing.files)} images "
                f"are of {groups} groups, and a group (a patient, a clip, near-duplicates, copies) is not divided. "
                "It needs more groups, or splits of its own."
            )
    return assigned
