"""The mean of a cross-validation, in which each seed is tested on one fold of the images, with its variance."""

from __future__ import annotations

import math

import numpy as np

from benchmark.analysis.uncertainty.clusters import Groups, as_groups, effective_number, parts
from benchmark.analysis.uncertainty.crossed import as_scores, degrees_of_freedom
from benchmark.analysis.uncertainty.interval import Estimate

UNTESTED = -128
"""Mark of a value that was not measured because the image was not in the seed's fold; beyond any sum of differences."""


def over_folds(values: np.ndarray, folds: int, scale: int = 1, groups: Groups | None = None) -> Estimate:
    """Return the mean of the folds' means with its variance: each seed was tested on one fold of K.

    A fold's mean differs from another's by its images and by its training set (and seed). The images of two folds are
    not the same, but most of their training images are: the part of the training sets counts with 1/S + 1/(K-1) instead
    of 1/S, the correction of Nadeau and Bengio (2003, "Inference for the generalization error"; n_test / n_train =
    1/(K-1)). They apply it to the entire variance of the fold means, the images' part included, which made intervals
    that covered 98 to 100 % (`experiments/studies/interval_coverage.md`)::

        V = within / I + max(between - within_fold, 0) (1/S + 1/(K-1))

    with ``between`` the variance of the S fold means, ``within`` the variance within folds of the images' values
    (means over the seeds that saw an image), ``within_fold`` what images alone make fold means vary, I the number of
    distinct images. Degrees of freedom as in `benchmark.analysis.uncertainty.crossed`: S - 1 and I - S in shares
    of V. Beyond K seeds folds are used again with other seeds (repeated cross-validation; Bouckaert and Frank 2004,
    "Evaluating the replicability of significance tests for comparing learning algorithms").

    Where images come in groups, the squares of their groups' sums replace those of the images, as in
    `benchmark.analysis.uncertainty.clusters`: no group is in two folds.

    Args:
        values: integers, shape (seeds, images), at least two seeds; `UNTESTED` where a seed did not see an image.
        folds: K.
        scale, groups: as in `crossed`.

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
    units = None if groups is None else groups.of_image
    informative = int(np.count_nonzero(scores.any(axis=0)))
    if units is not None and min(len(np.unique(units[seen])) for seen in tested) < 2:
        images, observations = int(tested.any(axis=0).sum()), int(tested.sum())
        return Estimate(mean, None, None, seeds, images, observations, informative, "folds", len(np.unique(units)))
    within_fold = math.fsum(
        _variance_of_mean(row[seen], None if units is None else units[seen])
        for row, seen in zip(scores, tested, strict=True)
    ) / (seeds * scale**2)
    within, images, others = _within(scores, tested, units)
    overlap = 1 / seeds + 1 / (folds - 1)
    variance = within / scale**2 + max(between - within_fold, 0.0) * overlap
    return Estimate(
        mean=mean,
        variance=variance,
        df=degrees_of_freedom(between * overlap, within_fold * overlap, variance, seeds, others),
        seeds=seeds,
        images=images,
        observations=int(tested.sum()),
        informative=informative,
        basis="folds",
        groups=None if groups is None else groups.count,
    )


def _within(scores: np.ndarray, tested: np.ndarray, units: np.ndarray | None) -> tuple[float, int, float]:
    """Return the variance of the mean from images within folds, the number of images, and degrees of freedom."""
    folds: dict[bytes, list[int]] = {}
    for seed, seen in enumerate(tested):
        folds.setdefault(seen.tobytes(), []).append(seed)
    squares, images, sizes = [], 0, []
    for of_fold in folds.values():
        seen = tested[of_fold[0]]
        sums = scores[of_fold][:, seen].sum(axis=0)
        images += len(sums)
        if units is None:
            squares.append(_sample_variance(sums) / len(of_fold) ** 2 * (len(sums) - 1))
        else:
            squares.append(_variance_of_mean(sums, units[seen]) * len(sums) ** 2 / len(of_fold) ** 2)
            sizes.append(np.unique(units[seen], return_counts=True)[1])
    if units is None:
        others = images - len(folds)
        return math.fsum(squares) / others / images, images, others
    return math.fsum(squares) / images**2, images, max(effective_number(np.concatenate(sizes)) - len(folds), 1.0)


def _variance_of_mean(values: np.ndarray, units: np.ndarray | None) -> float:
    """Return the variance of the mean of integers, by their units, of which there are at least two."""
    groups = as_groups(units)
    if groups is None:
        return _sample_variance(values) / len(values)
    return parts(values[None, :], groups).groups


def _sample_variance(values: np.ndarray) -> float:
    """Return the variance of integers (n - 1) from exact sums."""
    n, total, squares = len(values), int(values.sum()), int((values * values).sum())
    return (n * squares - total**2) / (n * (n - 1))
