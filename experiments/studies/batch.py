"""The package's intervals for many simulated test sets at once.

A copy of `benchmark.analysis.uncertainty` in arrays, for speed alone: `tests/analysis/test_interval_coverage.py`
compares the two. Axes are simulations, cells, seeds and images, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from benchmark.analysis.uncertainty.interval import FEW_IMAGES, RULE_OF_THREE
from benchmark.analysis.uncertainty.runs import FEWEST_CELLS, FLOOR, ROUNDING


@dataclass(frozen=True)
class Layout:
    """The images of a test, or of a fold.

    Attributes:
        labels: classes, ascending, shape (images,).
        groups: ascending within a class, no group in two classes; shape (images,), or None if there are none.
        folds: K of a cross-validation, in which seed s is tested on fold s modulo K and all folds have these classes
            and groups, or None.
    """

    labels: np.ndarray
    groups: np.ndarray | None = None
    folds: int | None = None

    def squares(self, values: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Return, of each class, the part of the variance of the values' mean over images, with its df.

        Args:
            values: shape (..., images).
        """
        images = len(self.labels)
        bounds = [*np.flatnonzero(np.diff(self.labels, prepend=np.nan)).tolist(), images]
        parts = []
        for first, last in pairwise(bounds):
            own = values[..., first:last]
            sizes = np.ones(last - first)
            if self.groups is not None:
                starts = np.flatnonzero(np.diff(self.groups[first:last], prepend=np.nan))
                own, sizes = np.add.reduceat(own, starts, axis=-1), np.diff([*starts.tolist(), last - first])
            errors = own - sizes * (own.sum(axis=-1, keepdims=True) / sizes.sum())
            of_class = (errors**2 / (1 - sizes / sizes.sum())).sum(axis=-1) / images**2
            parts.append((of_class, max((sizes**2).sum() ** 2 / (sizes**4).sum() - 1, 1.0)))
        return parts

    @property
    def units(self) -> int:
        """Number of groups, or of images, in one fold."""
        return len(self.labels) if self.groups is None else len(np.unique(self.groups))


def total(parts: Sequence[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of parts of variances, with Satterthwaite's degrees of freedom."""
    variance = np.sum([v for v, _ in parts], axis=0)
    below = np.sum([v**2 / df for v, df in parts], axis=0)
    return variance, ratio(variance**2, below, sum(df for _, df in parts))


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float | np.ndarray) -> np.ndarray:
    """Return a ratio, or another value where its denominator is zero."""
    return np.where(below > 0, above / np.where(below > 0, below, 1), otherwise)


@dataclass(frozen=True)
class Moderated:
    """Between-run variances, shape (simulations, cells).

    Attributes:
        variance: of one run's accuracy.
        df: degrees of freedom, of a known prior where ``scale_df`` is finite.
        scale_df: degrees of freedom of the scale of the cell's kind; infinite for a cell's own variance.
    """

    variance: np.ndarray
    df: np.ndarray
    scale_df: np.ndarray


def moderate(
    s2: np.ndarray, accuracy: np.ndarray, images: int, d: int, kinds: np.ndarray, of_images: np.ndarray | None
) -> Moderated:
    """Return `benchmark.analysis.uncertainty.runs.moderate` of many test sets.

    Args:
        s2: own between-run variances, shape (simulations, cells).
        accuracy: of the cells, same shape.
        images: of a run.
        d: degrees of freedom of the own variances.
        kinds: of the cells, integers from 0, shape (cells,).
        of_images: in a cross-validation the images' part of ``s2``, else None.
    """
    binomial = accuracy * (1 - accuracy) / images
    one_hot = kinds[:, None] == np.arange(kinds.max() + 1)
    usable = binomial > 0
    usable &= (usable @ one_hot.astype(float))[:, kinds] > 1
    usable &= usable.sum(axis=1, keepdims=True) >= FEWEST_CELLS
    in_kind = usable[:, :, None] * one_hot
    number = in_kind.sum(axis=1)

    def mean(values: np.ndarray) -> np.ndarray:
        """Return the mean over the usable cells of each kind, for each cell."""
        return np.asarray(ratio(np.einsum("bc,bck->bk", values, in_kind), number, 0.0)[:, kinds])

    floored = np.where(usable, np.maximum(s2, FLOOR * binomial), 1.0)
    e = np.log(floored) - special.digamma(d / 2) + np.log(d / 2)
    within = np.where(usable, (e - mean(e)) ** 2, 0.0).sum(axis=1)
    spare = number.sum(axis=1) - (number > 0).sum(axis=1)
    d0 = inverse_trigamma(ratio(within, spare, 0.0) - special.polygamma(1, d / 2))[:, None]
    finite = np.where(np.isinf(d0), 1.0, d0)
    shrunk = np.where(np.isinf(d0), mean(floored), (finite * mean(floored) + d * s2) / (finite + d))
    together = 1 / np.where(usable, number[:, kinds] * d, np.inf)
    if of_images is not None:
        together += np.where(usable, np.minimum(ratio(mean(of_images), mean(floored), 0.0), 1.0) ** 2 / d, 0.0)
    scale_df = ratio(np.ones_like(together), together, np.inf)
    return Moderated(np.where(usable, shrunk, s2), np.where(usable, d0 + d, d), scale_df)


def inverse_trigamma(values: np.ndarray) -> np.ndarray:
    """Return d0 with trigamma(d0 / 2) as given, infinite where that is not positive (Newton: Smyth 2004, appendix)."""
    found = np.full(values.shape, np.inf)
    wanted = values[values > 0]
    y = 0.5 + 1 / wanted
    for _ in range(40):
        y = y + special.polygamma(1, y) * (1 - special.polygamma(1, y) / wanted) / special.polygamma(2, y)
    found[values > 0] = 2 * y
    return found


@dataclass(frozen=True)
class Estimates:
    """Means with their intervals; arrays of the shape (simulations, comparisons).

    Attributes:
        per_run: the part of the variance that shrinks with the number of seeds, for one seed; without folds alone.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    df: np.ndarray
    per_run: np.ndarray | None = None

    @property
    def half_width(self) -> np.ndarray:
        """Half the length of the intervals."""
        return np.asarray((self.high - self.low) / 2)


def estimates(
    right: np.ndarray, layout: Layout, kinds: np.ndarray, contrasts: np.ndarray
) -> tuple[Estimates, Estimates]:
    """Return sums of cells with their symmetric intervals, and the cells' accuracies with Wilson's.

    Args:
        right: 0 or 1, shape (simulations, cells, seeds, images).
        layout: of the images of one seed.
        kinds: of the cells, from 0.
        contrasts: coefficients, shape (comparisons, cells).
    """
    number, seeds = len(contrasts), right.shape[2]
    mean, variance, df, per_run = _variances(right, layout, kinds, np.vstack([contrasts, np.eye(right.shape[1])]))
    t, units = special.stdtrit(df, 0.975), layout.units * _folds(right, layout)
    half = t[:, :number] * np.sqrt(variance[:, :number])
    informative = _count_informative(np.einsum("kc,bcsi->bksi", contrasts, right), layout)
    half = np.maximum(half, np.where(informative < FEW_IMAGES, RULE_OF_THREE / units, 0.0))
    d = mean[:, :number]
    compared = Estimates(d, d - half, d + half, half / t[:, :number], df[:, :number], per_run[:, :number])
    p, t, variance = mean[:, number:], t[:, number:], variance[:, number:]
    n = ratio(p * (1 - p), variance, np.inf)
    few = (np.minimum(_count_informative(1 - right, layout), _count_informative(right, layout)) < FEW_IMAGES) & (
        n > units
    )
    n = np.minimum(n, np.where(few, units, right.shape[3] * seeds))
    centre = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * np.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    low = np.minimum(np.maximum(centre - half, 0), p)
    high = np.maximum(np.minimum(centre + half, 1), p)
    return compared, Estimates(p, low, high, np.sqrt(variance), df[:, number:])


def _folds(right: np.ndarray, layout: Layout) -> int:
    return 1 if layout.folds is None else min(layout.folds, right.shape[2])


def _count_informative(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the number of images with a value other than zero in any seed."""
    places = _folds(values, layout)
    return np.asarray(sum((values[:, :, f::places] != 0).any(axis=2).sum(axis=-1) for f in range(places)))


def _variances(
    right: np.ndarray, layout: Layout, kinds: np.ndarray, contrasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return means, their variances and degrees of freedom, and what more seeds make smaller, for one seed."""
    seeds, images = right.shape[2:]
    of_seed = right.mean(axis=3)
    residual, residual_df = _residual(right, layout)
    own, accuracy = of_seed.var(axis=2, ddof=1), of_seed.mean(axis=2)
    runs = moderate(own, accuracy, images, seeds - 1, kinds, None if layout.folds is None else residual)
    if layout.folds is None:
        of_fold = [right.mean(axis=2)]
        overlap = 1 / seeds
    else:
        of_fold = [right[:, :, f :: layout.folds].mean(axis=2) for f in range(_folds(right, layout))]
        overlap = 1 / seeds + 1 / (layout.folds - 1)
    parts = []
    for averaged in of_fold:
        of_classes = layout.squares(np.einsum("kc,bci->bki", contrasts, averaged))
        parts += [(v / len(of_fold) ** 2, df) for v, df in of_classes]
    images_variance, images_df = total(parts)
    weights = contrasts**2
    of_runs = runs.variance @ weights.T
    below = (runs.variance**2 / runs.df) @ (weights**2).T
    for kind in range(kinds.max() + 1):
        shared = np.where((kinds == kind) & np.isfinite(runs.scale_df), runs.variance, 0.0) @ weights.T
        below += shared**2 / np.where(kinds == kind, runs.scale_df, np.inf).min(axis=1, keepdims=True)
    runs_df = ratio(of_runs**2, below, np.inf)
    of_residual = residual @ weights.T
    below_residual = (residual**2 / residual_df) @ (weights**2).T
    excess = np.where(of_runs - of_residual > ROUNDING * of_runs, of_runs - of_residual, 0.0)
    variance = images_variance + overlap * excess
    squares = images_variance**2 / images_df + overlap**2 * (of_runs**2 / runs_df + below_residual)
    df = np.maximum(ratio(variance**2, squares, images_df), np.minimum(images_df, runs_df))
    mean = of_seed.mean(axis=2) @ contrasts.T
    return mean, variance, np.where(excess > 0, df, images_df), excess + of_residual


def _residual(right: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    seeds = right.shape[2]
    if layout.folds is None:
        own = layout.squares(right - right.mean(axis=2, keepdims=True))
        return total([(v.sum(axis=2) / (seeds - 1), df * (seeds - 1)) for v, df in own])
    variance, df = total(layout.squares(right))
    mean = variance.mean(axis=2)
    df = ratio(mean**2, ((variance / seeds) ** 2 / df).sum(axis=2), np.inf)
    return np.asarray(mean), df


def own_numbers(right: np.ndarray, contrasts: np.ndarray) -> Estimates:
    """Return sums of cells as version 1 did: from the comparison's own seeds, images and residual, without classes.

    V = (max(MS_seed - MS_residual, 0) + max(MS_image - MS_residual, 0) + MS_residual) / (S I), and degrees of freedom
    of its own making (`benchmark/analysis/uncertainty/crossed.py` of commit 824a02c).
    """
    values = np.einsum("kc,bcsi->bksi", contrasts, right)
    seeds, images = values.shape[2:]
    mean = values.mean(axis=(2, 3))
    of_seed = images * values.mean(axis=3).var(axis=2, ddof=1)
    of_image = seeds * values.mean(axis=2).var(axis=2, ddof=1)
    squares = ((values - mean[..., None, None]) ** 2).sum(axis=(2, 3))
    residual = squares - (seeds - 1) * of_seed - (images - 1) * of_image
    residual = np.maximum(residual, 0) / ((seeds - 1) * (images - 1))
    combined = np.maximum(of_seed - residual, 0) + np.maximum(of_image - residual, 0) + residual
    below = np.minimum(ratio(of_seed, residual, 1.0), 1.0)
    share = np.minimum(ratio(of_seed * below**4, combined, 0.0), 1.0)
    df = 1 / (share**1.5 / (seeds - 1) + (1 - share) / (images - 1))
    t = special.stdtrit(df, 0.975)
    informative = (np.abs(values).max(axis=2) > 1e-9).sum(axis=-1)
    half = np.maximum(
        t * np.sqrt(combined / (seeds * images)), np.where(informative < FEW_IMAGES, RULE_OF_THREE / images, 0)
    )
    return Estimates(mean, mean - half, mean + half, half / t, df)
