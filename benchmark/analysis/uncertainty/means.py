"""Means of cells and of paired differences with their intervals: seeds and test images as crossed random effects.

Model, for the value of seed s on image i (0 or 1 for a cell; -1, 0 or 1 for a paired difference of two cells)::

    Y_si = mu + seed_s + image_i + residual_si

Seeds and images are random and crossed: every seed sees every image, so seeds do not draw images of their own
(Baayen, Davidson and Bates 2008, "Mixed-effects modeling with crossed random effects for subjects and items"). The
variance of the mean over S seeds and I images is ``var_seed / S + var_image / I + var_residual / (S I)``. It is
estimated from the images (`design.images_part`: the second and the third term), and from the runs of each cell
(`runs`: the first and the third, moderated), of which what images alone contribute is taken off::

    V = images + max(runs - runs of images, 0) / S

In a cross-validation each seed is tested on one fold of K. The images of two folds are not the same, but most of their
training images are: the runs' part counts with 1 / S + 1 / (K - 1) instead of 1 / S, the correction of Nadeau and
Bengio (2003, "Inference for the generalization error"; n_test / n_train = 1 / (K - 1)). They apply it to the entire
variance of the fold means, the images' part included. Beyond K seeds folds are used again with other seeds (repeated
cross-validation; Bouckaert and Frank 2004, "Evaluating the replicability of significance tests for comparing learning
algorithms").

Degrees of freedom are Satterthwaite's, over these three mean squares. Because one of them is subtracted, his formula
can give fewer than any of them has; then they are the fewer of the two that are added. How often the intervals hold the
truth: `experiments/studies/interval_coverage.md`.

One seed: the runs' part cannot be seen. The variance is over the images alone and says so in `Interval.basis`.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.design import UNTESTED, Design, Part, images_part, satterthwaite
from benchmark.analysis.uncertainty.interval import Basis, Estimate, Interval, score_interval, symmetric
from benchmark.analysis.uncertainty.runs import Runs


def mean_difference(values: np.ndarray, design: Design, runs: Runs | None, scale: int = 1) -> Interval:
    """Return the mean of paired differences with its symmetric interval.

    Args:
        values: integers, shape (seeds, images): 1, 0 or -1, or sums of such over ``scale`` pairs of cells; `UNTESTED`
            where a seed did not see an image.
        design: design of the test.
        runs: the variance of one run's mean of the values over ``scale`` (`runs.combine`), or None if it is unknown.
        scale: divisor of the values.

    Raises:
        ValueError: no seed, no image, values that are not integers, or without folds one that is missing.
    """
    return symmetric(_estimate(values, design, runs, scale, int(np.count_nonzero(_tested_values(values).any(axis=0)))))


def mean_accuracy(correct: np.ndarray, design: Design, runs: Runs | None) -> Interval:
    """Return the share of right images with its score interval.

    Args:
        correct: integers, shape (seeds, images): 1 where right, 0 where wrong; `UNTESTED` where a seed did not see it.
        design, runs: as in `mean_difference`.

    Raises:
        ValueError: as there.
    """
    return score_interval(_estimate(correct, design, runs, 1, count_informative(correct)))


def count_informative(correct: np.ndarray) -> int:
    """Return the number of images that any seed got wrong, or of those that any got right if these are fewer."""
    return min(int(np.count_nonzero((correct == value).any(axis=0))) for value in (0, 1))


def _tested_values(values: np.ndarray) -> np.ndarray:
    return np.where(values == UNTESTED, 0, values)


def _mean(values: np.ndarray, design: Design) -> float:
    if design.folds is None:
        return int(values.sum()) / values.size
    return math.fsum(float(row[row != UNTESTED].mean()) for row in values) / len(values)


def _estimate(values: np.ndarray, design: Design, runs: Runs | None, scale: int, informative: int) -> Estimate:
    if values.ndim != 2 or 0 in values.shape or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"values must be integers of the shape (seeds, images), got {values.dtype} {values.shape}")
    if design.folds is None and (values == UNTESTED).any():
        raise ValueError("a seed was not tested on every image")
    seen = (values != UNTESTED).any(axis=0)
    values, design = values[:, seen].astype(np.int64), design.of_images(seen)
    seeds, images = values.shape
    found, groups = images_part(values, design), as_groups(design.groups)
    variance = df = per_run = None
    common = 0.0
    if found is not None:
        variance, df = found.variance / scale**2, found.df
        if runs is not None and seeds > 1:
            of_folds = 0.0 if design.folds is None else 1 / (design.folds - 1)
            overlap, common = 1 / seeds + of_folds, of_folds * runs.excess
            per_run = runs.excess + (runs.of_images.variance if design.folds is None else 0.0)
            if runs.excess:
                of_runs = (Part(overlap * part.variance, part.df) for part in (runs.variance, runs.of_images))
                parts = [Part(variance, df), *of_runs]
                variance += overlap * runs.excess
                df = max(satterthwaite(parts, variance), min(df, runs.variance.df))
    basis: Basis = "images" if seeds == 1 else "seeds and images" if design.folds is None else "folds"
    return Estimate(
        mean=_mean(values, design) / scale,
        variance=variance,
        df=df,
        seeds=seeds,
        images=images,
        observations=int((values != UNTESTED).sum()),
        informative=informative,
        basis=basis,
        groups=None if groups is None else groups.count,
        per_run=per_run,
        common=common,
    )
