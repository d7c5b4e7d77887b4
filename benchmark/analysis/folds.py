"""The mean of a cross-validation, in which each seed is tested on another part of the images, with its variance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from benchmark.analysis.interval import Estimate, Interval, score_interval, symmetric
from benchmark.analysis.statistics import as_scores, crossed, degrees_of_freedom

UNTESTED = -128
"""Stands for a value that was not measured: the image was not in the seed's fold. Beyond any sum of differences."""


def over_folds(values: np.ndarray, folds: int, scale: int = 1) -> Estimate:
    """Return the mean of the folds' means with its variance: each seed was tested on one fold of K.

    A fold's mean differs from another's by its images and by its training set (and seed). The images of two folds are
    not the same, but most of their training images are: the part of the training sets counts with 1/S + 1/(K-1) instead
    of 1/S, the correction of Nadeau and Bengio (2003, "Inference for the generalization error"; n_test / n_train =
    1/(K-1)). They apply it to the whole variance of the fold means, the images' part included, which made intervals
    that covered 98 to 100 % (`tests/analysis/coverage.md`)::

        V = within / I + max(between - within_fold, 0) (1/S + 1/(K-1))

    with ``between`` the variance of the S fold means, ``within`` the variance within folds of the images' values
    (means over the seeds that saw an image), ``within_fold`` what images alone make fold means vary, I the number of
    distinct images. Degrees of freedom as in `benchmark.analysis.statistics`: S - 1 and I - S in shares of V. Beyond K
    seeds folds come back with other seeds (repeated cross-validation; Bouckaert and Frank 2004, "Evaluating the
    replicability of significance tests for comparing learning algorithms").

    Args:
        values: integers, shape (seeds, images), at least two seeds; `UNTESTED` where a seed did not see an image.
        folds: K.
        scale: what the values are divided by.

    Raises:
        ValueError: fewer than two seeds or folds, or a seed with fewer than two images.
    """
    seeds, _ = as_scores(values).shape
    tested = values != UNTESTED
    if seeds < 2 or folds < 2 or (tested.sum(axis=1) < 2).any():
        raise ValueError(f"folds need two seeds, each with images, got {tested.sum(axis=1)} images of {folds} folds")
    scores = np.where(tested, values, 0).astype(np.int64)
    sizes = tested.sum(axis=1).tolist()
    means = [total / size / scale for total, size in zip(scores.sum(axis=1).tolist(), sizes, strict=True)]
    mean = math.fsum(means) / seeds
    between = math.fsum((own - mean) ** 2 for own in means) / (seeds - 1)
    within_fold = math.fsum(
        _sample_variance(row[seen]) / size for row, seen, size in zip(scores, tested, sizes, strict=True)
    ) / (seeds * scale**2)
    within, images = _within(scores, tested)
    overlap = 1 / seeds + 1 / (folds - 1)
    variance = within / scale**2 / images + max(between - within_fold, 0.0) * overlap
    return Estimate(
        mean=mean,
        variance=variance,
        df=degrees_of_freedom(between * overlap, within_fold * overlap, variance, seeds, images - min(seeds, folds)),
        seeds=seeds,
        images=images,
        observations=int(tested.sum()),
        telling=int(np.count_nonzero(scores.any(axis=0))),
        basis="folds",
    )


def _within(scores: np.ndarray, tested: np.ndarray) -> tuple[float, int]:
    """Return the variance of the images' means within folds, and the number of distinct images."""
    folds: dict[bytes, list[int]] = {}
    for seed, seen in enumerate(tested):
        folds.setdefault(seen.tobytes(), []).append(seed)
    squares, images = [], 0
    for of_fold in folds.values():
        sums = scores[of_fold][:, tested[of_fold[0]]].sum(axis=0)
        squares.append(_sample_variance(sums) / len(of_fold) ** 2 * (len(sums) - 1))
        images += len(sums)
    return math.fsum(squares) / (images - len(folds)), images


def mean_difference(values: np.ndarray, folds: int | None, scale: int = 1) -> Interval:
    """Return the mean of paired differences with its symmetric interval, whichever way the seeds were tested.

    Args:
        values: integers, shape (seeds, images): 1, 0 or -1, or sums of such over ``scale`` pairs of cells; `UNTESTED`
            where a seed did not see an image.
        folds: None: every seed was tested on every image (`crossed`); else K (`over_folds`).
        scale: what the values are divided by.

    Raises:
        ValueError: without folds, a value is missing.
    """
    return symmetric(_estimate(values, folds, scale))


def mean_accuracy(correct: np.ndarray, folds: int | None) -> Interval:
    """Return the share of right images with its score interval, whichever way the seeds were tested.

    Args:
        correct: integers, shape (seeds, images): 1 where the image is right, 0 where not; `UNTESTED` where a seed did
            not see it.
        folds: as in `mean_difference`.

    Raises:
        ValueError: without folds, a value is missing.
    """
    return score_interval(replace(_estimate(correct, folds), telling=telling_images(correct)))


def telling_images(correct: np.ndarray) -> int:
    """Return the number of images that any seed got wrong, or that any got right where these are fewer."""
    return min(int(np.count_nonzero((correct == value).any(axis=0))) for value in (0, 1))


def _estimate(values: np.ndarray, folds: int | None, scale: int = 1) -> Estimate:
    tested = values != UNTESTED
    if folds is None and not tested.all():
        raise ValueError("a seed was not tested on every image")
    if folds is None or len(values) == 1:
        return crossed(values[:, tested.all(axis=0)], scale)
    return over_folds(values, folds, scale)


def _sample_variance(values: np.ndarray) -> float:
    """Return the variance of integers, with n - 1; their sums are exact."""
    n, total, squares = len(values), int(values.sum()), int((values * values).sum())
    return (n * squares - total**2) / (n * (n - 1))
