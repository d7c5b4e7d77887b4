"""Means of cells and of paired differences with their intervals, for crossed seeds and for cross-validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.crossed import crossed
from benchmark.analysis.uncertainty.folds import UNTESTED, over_folds
from benchmark.analysis.uncertainty.interval import Estimate, Interval, score_interval, symmetric


def mean_difference(
    values: np.ndarray, folds: int | None, scale: int = 1, groups: np.ndarray | None = None
) -> Interval:
    """Return the mean of paired differences with its symmetric interval.

    Args:
        values: integers, shape (seeds, images): 1, 0 or -1, or sums of such over ``scale`` pairs of cells; `UNTESTED`
            where a seed did not see an image.
        folds: K of a cross-validation (`over_folds`), or None if every seed was tested on every image (`crossed`).
        scale: divisor of the values.
        groups: integers, shape (images,), equal for images of one group, or None if each image is its own.

    Raises:
        ValueError: without folds, a value is missing.
    """
    return symmetric(_estimate(values, folds, scale, groups))


def mean_accuracy(correct: np.ndarray, folds: int | None, groups: np.ndarray | None = None) -> Interval:
    """Return the share of right images with its score interval.

    Args:
        correct: integers, shape (seeds, images): 1 where right, 0 where wrong; `UNTESTED` where a seed did not see it.
        folds, groups: as in `mean_difference`.

    Raises:
        ValueError: without folds, a value is missing.
    """
    return score_interval(replace(_estimate(correct, folds, 1, groups), informative=count_informative(correct)))


def count_informative(correct: np.ndarray) -> int:
    """Return the number of images that any seed got wrong, or of those that any got right if these are fewer."""
    return min(int(np.count_nonzero((correct == value).any(axis=0))) for value in (0, 1))


def _estimate(values: np.ndarray, folds: int | None, scale: int, groups: np.ndarray | None) -> Estimate:
    tested = values != UNTESTED
    if folds is None and not tested.all():
        raise ValueError("a seed was not tested on every image")
    if folds is None or len(values) == 1:
        seen = tested.all(axis=0)
        return crossed(values[:, seen], scale, as_groups(None if groups is None else groups[seen]))
    return over_folds(values, folds, scale, as_groups(groups))
