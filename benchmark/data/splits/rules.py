"""Rules and sizes of a dataset's splits. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from benchmark.data.catalogue import SplitName

Evaluation = Literal["split", "folds"]
"""Evaluation of a dataset without an official test split: on a drawn test split, or by cross-validation."""

OnBadImage = Literal["refuse", "drop"]
"""Treatment of images that cannot be decoded: an error, or left out."""

OnLeak = Literal["refuse", "drop-train", "keep"]
"""Copies of images that are tested (or chosen on) among those trained on, and groups on both sides, in the given splits
of a folder: are an error, are left out of training (or of validation), or are kept."""

FRACTION = 0.15
"""Share of each class in a drawn split."""

LARGEST_SHARE = 0.225
"""Of a class, for one group of images to be split: 1.5 x the 15 % that a drawn split holds."""

LARGEST_SHARE_OF_TEST = 1 / 3
"""The same among test images, which are not split: clips are found if a class has four (rps), not if it has two."""

FOLDS = 5
"""Number of folds of a cross-validation."""

FEWEST_OF_A_CLASS = 2 * FOLDS
"""Fewest images per class of a folder: with fewer, a fold or the validation images may lack the class."""

FEWEST = 300
"""Test images below which a dataset without an official test split is evaluated by cross-validation."""

LEAST_VALIDATION = 20
"""Minimum number of validation images under ``limit``, if there are that many."""

LEAST_OF_A_CLASS = 2
"""The same per class."""


def uses_folds(images: Mapping[SplitName, int], evaluation: Evaluation) -> bool:
    """Return whether a dataset is evaluated by cross-validation.

    An official test split is kept, however small. Without one, the matrix may ask for folds, and they are used anyway
    where a drawn test split would have fewer than `FEWEST` images.

    Args:
        images: number of images by official split, those without one under ``train``.
        evaluation: evaluation in the matrix.
    """
    if images.get("test"):
        return False
    return evaluation == "folds" or FRACTION * sum(images.values()) < FEWEST


def count_limited_validation(limit: int, train: int, validation: int, classes: int) -> int:
    """Return the number of validation images next to ``limit`` training images.

    limit / train x validation, to no less than `LEAST_VALIDATION` and `LEAST_OF_A_CLASS` per class, and never more than
    there are.

    Args:
        limit: training images that are used.
        train: training images in all.
        validation: validation images in all.
        classes: number of classes.
    """
    least = max(LEAST_VALIDATION, LEAST_OF_A_CLASS * classes)
    return min(validation, max(round(limit / train * validation), least))
