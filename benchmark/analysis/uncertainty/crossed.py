"""The mean over two crossed random effects, seeds and test images, with its estimated variance.

Model, for the value of seed s on image i (0 or 1 for a cell; -1, 0 or 1 for a paired difference of two cells)::

    Y_si = mu + seed_s + image_i + residual_si

Seeds and images are random and crossed: every seed sees every image, so seeds do not draw images of their own
(Baayen, Davidson and Bates 2008, "Mixed-effects modeling with crossed random effects for subjects and items"). With
S seeds and I images the mean squares of the two-way analysis of variance without replication have the expectations::

    E[MS_seed]     = I var_seed  + var_residual
    E[MS_image]    = S var_image + var_residual
    E[MS_residual] =               var_residual

and ``Var(mean) = var_seed / S + var_image / I + var_residual / (S I)`` is estimated from them (Searle, Casella and
McCulloch 1992, "Variance Components", ch. 4; Brennan 2001, "Generalizability Theory", ch. 3)::

    V = (max(MS_seed - MS_residual, 0) + max(MS_image - MS_residual, 0) + MS_residual) / (S I)

A component estimated below zero is taken as zero: the other terms stay, so V never falls below MS_residual / (S I).

The degrees of freedom follow Satterthwaite (1946, "An approximate distribution of estimates of variance components"):
those of the parts, weighted by their shares of V. The seeds' mean square has the share w, the rest 1 - w::

    w  = MS_seed min(1, MS_seed / MS_residual)^4 / (S I V)
    df = 1 / (w^(3/2) / (S - 1) + (1 - w) / (I - 1))

Two things are not Satterthwaite's, because of his few degrees of freedom (2 of three seeds), and were chosen by
simulation (`experiments/studies/interval_coverage.md`). His exponent is 2; the share is itself estimated, a small one
goes with a small V, and where seeds and images have parts of the same size intervals fall to 92 %: with 3/2 they keep
93 %. And where the seeds' component is set to zero its mean square ceases to count, continuously, by the factor in
min(); counted in full, intervals cover 98.5 % where seeds make no difference.

Where test images come in groups, groups take the place of images: `benchmark.analysis.uncertainty.clusters`.

One seed: the seed's part cannot be seen. The variance is over the images alone (``V = MS_image / I``, df = I - 1) and
says so in `Interval.basis`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmark.analysis.uncertainty.clusters import Groups, parts
from benchmark.analysis.uncertainty.interval import Basis, Estimate


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way layout without replication."""

    seed: float
    image: float
    residual: float


def mean_squares(values: np.ndarray) -> MeanSquares:
    """Return the mean squares over seeds, images and the residual.

    Sums are of integers, so their result does not depend on the order of summation.

    Args:
        values: integers, shape (seeds, images), both at least 2.

    Raises:
        ValueError: the shape is smaller, or values are not integers.
    """
    seeds, images = as_scores(values).shape
    if seeds < 2 or images < 2:
        raise ValueError(f"mean squares need at least two seeds and two images, got {seeds} x {images}")
    n = seeds * images
    total, of_rows, of_columns, of_all = _sums(values)
    ss_seed = (seeds * of_rows - total**2) / n
    ss_image = (images * of_columns - total**2) / n
    ss_residual = (n * of_all - seeds * of_rows - images * of_columns + total**2) / n
    return MeanSquares(
        seed=ss_seed / (seeds - 1),
        image=ss_image / (images - 1),
        residual=ss_residual / ((seeds - 1) * (images - 1)),
    )


def crossed(values: np.ndarray, scale: int = 1, groups: Groups | None = None) -> Estimate:
    """Return the mean of ``values / scale`` with its variance for crossed random seeds and images.

    Args:
        values: integers, shape (seeds, images). For a cell 1 is right and 0 is wrong; for differences 1, 0 or -1, or
            sums of such over ``scale`` pairs of cells.
        scale: divisor of the values.
        groups: groups of images, or None if each image is its own.

    Raises:
        ValueError: no seed, no image, a scale below one, or values that are not integers.
    """
    seeds, images = as_scores(values).shape
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    total, _, _, of_all = _sums(values)
    variance: float | None
    df: float | None
    if (images if groups is None else groups.count) < 2:
        variance = df = None
    elif groups is not None:
        found = parts(values, groups)
        variance = max(found.seeds - found.residual, 0.0) + max(found.groups - found.residual, 0.0) + found.residual
        others = max(groups.effective - 1, 1.0)
        df = others if seeds == 1 else degrees_of_freedom(found.seeds, found.residual, variance, seeds, others)
    elif seeds == 1:
        variance = (images * of_all - total**2) / images / (images - 1) / images
        df = float(images - 1)
    else:
        ms = mean_squares(values)
        combined = max(ms.seed - ms.residual, 0.0) + max(ms.image - ms.residual, 0.0) + ms.residual
        variance = combined / (seeds * images)
        df = degrees_of_freedom(ms.seed, ms.residual, combined, seeds, images - 1)
    basis: Basis = "images" if seeds == 1 else "seeds and images"
    return Estimate(
        mean=total / (seeds * images * scale),
        variance=None if variance is None else variance / scale**2,
        df=df,
        seeds=seeds,
        images=images,
        observations=seeds * images,
        informative=int(np.count_nonzero(values.any(axis=0))),
        basis=basis,
        groups=None if groups is None else groups.count,
    )


def degrees_of_freedom(of_seeds: float, of_residual: float, variance: float, seeds: int, others: float) -> float:
    """Return the degrees of freedom of a variance in which the seeds have a part (see the module).

    Args:
        of_seeds: the seeds' part of the variance before the residual is subtracted.
        of_residual: the part that the residual's mean square would have instead; the same unit.
        variance: of the mean; the same unit.
        seeds: number of seeds, at least two.
        others: degrees of freedom of the rest.
    """
    below = min(of_seeds / of_residual, 1.0) if of_residual > 0 else 1.0
    share = min(of_seeds * (below * below) * (below * below) / variance, 1.0) if variance > 0 else 0.0
    return 1 / (share * math.sqrt(share) / (seeds - 1) + (1 - share) / others)


def as_scores(values: np.ndarray) -> np.ndarray:
    """Return the array if it is valid.

    Raises:
        ValueError: the shape is not (seeds, images) with at least one of each, or values are not integers.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"values must have the shape (seeds, images), got {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"values must be integers, got {values.dtype}")
    return values


def _sums(values: np.ndarray) -> tuple[int, int, int, int]:
    """Return the total, the sums of squared row and column totals, and the sum of squares."""
    wide = values.astype(np.int64)
    rows, columns = wide.sum(axis=1), wide.sum(axis=0)
    return int(wide.sum()), int((rows**2).sum()), int((columns**2).sum()), int((wide**2).sum())
