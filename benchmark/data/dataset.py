"""A dataset ready for training: decoded images, labels and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError

MOST_NAMED = 5
"""Limit of classes in one message."""


@dataclass(frozen=True)
class Split:
    """Rows of the decoded images with their labels and names, in a fixed order.

    Attributes:
        rows: int64, shape (n,): rows of `PreparedDataset.images`.
        labels: int64, shape (n,): positions in `PreparedDataset.classes`.
        image_ids: n names, unique within the dataset and free of any machine's paths.
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
        fingerprint: 64 hexadecimal digits, see `benchmark.data.index.Index`; before ``limit`` and ``classes``.
        train, validation, test: the splits, ``limit`` and ``classes`` applied.
        notes: how missing splits were drawn, in words for the report.
        test_groups: image id -> name of its group, of every test image, under cross-validation of all folds: images of
            one clip, near-duplicates or equal files, which are one unit of a test.
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
        UserError: it has one.
    """
    for name, split in (("training", data.train), ("validation", data.validation), ("test", data.test)):
        if not len(split):
            raise UserError(f"{dataset}: its {name} split is empty.")
        absent = [data.classes[k] for k in sorted(set(range(len(data.classes))) - set(split.labels.tolist()))]
        if absent:
            named = ", ".join(absent[:MOST_NAMED])
            more = f" and {len(absent) - MOST_NAMED} more classes" if len(absent) > MOST_NAMED else ""
            raise UserError(
                f"{dataset}: its {name} split of {len(split)} images has none of {named}{more}; "
                "leave these classes out with classes, or raise limit."
            )
