"""A dataset ready for training: decoded images, labels and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
