"""A dataset ready for training: decoded images, labels and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError

MOST_NAMED = 5
"""Maximum number of classes named in one message."""


@dataclass(frozen=True)
class Split:
    """Rows of the decoded images with their labels and names, in a fixed order.

    Attributes:
        rows: int64, shape (n,): rows of `PreparedDataset.images`.
        labels: int64, shape (n,): positions in `PreparedDataset.classes`.
        image_ids: n names, unique within the dataset and without paths of a machine.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    image_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset decoded at one size.

    Attributes:
        images: uint8, shape (N, size, size, channels), read-only and memory-mapped; channels is 1 for grey (luma), 3
            for colour (RGB).
        classes: names in label order.
        fingerprint: 64 hexadecimal digits, see `benchmark.data.index.Index`; ``limit`` and ``classes`` do not change
            it.
        train, validation, test: the splits, after ``limit`` and ``classes``.
        notes: sentences for the report, e.g. how missing splits were drawn.
        test_groups: image id -> name of its group, for every test image (of all folds, under cross-validation). A group
            is one clip, or near-duplicates or equal files, and counts as one unit of a test set.
        folds: number of folds if the test split is one fold of a cross-validation, or None if it is fixed.
    """

    images: NDArray[np.uint8]
    classes: tuple[str, ...]
    fingerprint: str
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...]
    test_groups: Mapping[str, str]
    folds: int | None = None


def check_splits(dataset: str, data: PreparedDataset) -> None:
    """Refuse a dataset with a split that is empty or lacks a class.

    Raises:
        UserError: a split is empty or lacks a class.
    """
    for name, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if not len(split):
            raise UserError(f"{dataset}: the {name} split is empty.")
        absent = [data.classes[k] for k in sorted(set(range(len(data.classes))) - set(split.labels.tolist()))]
        if absent:
            named = ", ".join(absent[:MOST_NAMED])
            more = f" and {len(absent) - MOST_NAMED} more classes" if len(absent) > MOST_NAMED else ""
            raise UserError(
                f"{dataset}: the {name} split of {len(split)} images has no images of {named}{more}; "
                "leave these classes out with classes, or raise limit."
            )
