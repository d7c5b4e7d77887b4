"""Intervals for scores other than means over images: the crossed bootstrap, seeded.

Seeds and images are resampled independently of each other, with replacement, each image and each seed with its entire
row of results: the pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1;
McCullagh 2000, "Resampling and exchangeable arrays"). Let ``theta_bs`` be seed s's score on the b-th resample of the
images. The bootstrap variance of the mean over seeds, its expectation over the draws of seeds taken exactly, is::

    images   = variance over b of (mean over s of theta_bs)
    seeds    = variance over s of theta_s / S                     theta_s: on the images as they are
    residual = mean over b of (variance over s of theta_bs) / S - seeds

    pigeonhole = images + (S - 1) / S (seeds + residual)

Owen shows what that estimates: the joint part of seeds and images in the residual counts three times, and the seeds'
part is too small by (S - 1) / S. Both factors are known here, so they are corrected::

    V = max(images - residual, 0) + max(seeds - residual, 0) + residual

For a mean over images these three are the mean squares of the two-way analysis of variance over S I, up to the
bootstrap's own error; degrees of freedom are Satterthwaite's. Variances are each cell's own, not moderated. In a
cross-validation no two folds share an image, the residual is all that images do, and the rest of the seeds' part counts
1 + S / (K - 1) times (`benchmark.analysis.uncertainty.means`).

Where test images come in groups, groups are resampled (Davison and Hinkley 1997, "Bootstrap Methods and their
Application", 3.8). Of G groups of one size that makes the parts of the images and of the residual too small by
(G - 1) / G, of others by 1 - sum of n_g^2 / I^2. That is corrected, because groups may be few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from benchmark.analysis.scores import SCORES, Quality
from benchmark.analysis.uncertainty.clusters import Groups
from benchmark.analysis.uncertainty.design import Part, satterthwaite
from benchmark.analysis.uncertainty.interval import Basis, Estimate, Interval, symmetric

RESAMPLES = 500
"""Number of resamples of the images; the standard error is then known to 1 / sqrt(2 x 500) = 3 %."""

LARGEST_SHARE = 0.9
"""Largest share of the sum of squares in one group that the correction for few groups takes into account."""

SEED = 2007
"""Seed of all draws: the same images are drawn in every run and every report."""


@lru_cache(maxsize=16)
def image_counts(units: int) -> np.ndarray:
    """Return the count of each unit (image or group) in each resample: float64, shape (units, RESAMPLES).

    Drawn from the raw stream of PCG64, which NumPy keeps from version to version (NEP 19), unlike its distributions.
    The array is shared and read-only.
    """
    raw = np.random.PCG64([SEED, units]).random_raw(RESAMPLES * units).reshape(RESAMPLES, units)
    drawn = ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53 * units).astype(np.int64)
    counts = np.zeros((units, RESAMPLES))
    for b, row in enumerate(drawn):
        counts[:, b] = np.bincount(row, minlength=units)
    counts.setflags(write=False)
    return counts


def resample_counts(images: int, groups: Groups | None) -> np.ndarray:
    """Return the count of each image in each resample: float64, shape (images, RESAMPLES).

    If there are groups, they are the units that are drawn: resamples then differ in their number of images.
    """
    return image_counts(images) if groups is None else image_counts(groups.count)[groups.of_image]


def mean_score(
    scores: Sequence[float],
    resampled: np.ndarray,
    images: int,
    folds: int | None,
    informative: int | None = None,
    groups: Groups | None = None,
) -> Interval:
    """Return the mean over seeds of a score, or of a paired difference of scores, with its symmetric interval.

    Args:
        scores: each seed's score on the original images.
        resampled: the same on each resample, float64, shape (seeds, RESAMPLES); resamples in which a seed's score is
            NaN, because no class has a pair of images, are left out.
        images: number of distinct test images.
        folds: the K of a cross-validation, or None if every seed was tested on the same images.
        informative: as in `Estimate`, or None for all images.
        groups: groups that were resampled, or None if images were.

    Raises:
        ValueError: shapes that do not belong together.
    """
    seeds = len(scores)
    if resampled.shape != (seeds, RESAMPLES) or seeds == 0:
        raise ValueError(f"{seeds} seeds and resamples of shape {resampled.shape} do not belong together")
    resampled = resampled[:, ~np.isnan(resampled).any(axis=0)]
    basis: Basis = "images" if seeds == 1 else "seeds and images" if folds is None else "folds"
    means = resampled.sum(axis=0) / seeds
    variance = df = None
    if (images if groups is None else groups.count) > 1:
        few = 1.0 if groups is None else _correction(groups, 1 if folds is None else min(seeds, folds))
        variance = _variance(means) * few
        df = float(images - 1) if groups is None else max(groups.effective - 1, 1.0)
        if seeds > 1:
            of_seeds = _variance(scores) / seeds
            spread = ((resampled - means) ** 2).sum(axis=0) / (seeds - 1)
            residual = max(_mean(spread) / seeds - of_seeds, 0.0) * few
            overlap = 1.0 if folds is None else 1 + seeds / (folds - 1)
            variance = max(variance, residual)
            if of_seeds > residual:
                parts = [
                    Part(variance, df),
                    Part(overlap * of_seeds, seeds - 1),
                    Part(overlap * residual, df * (seeds - 1)),
                ]
                variance += overlap * (of_seeds - residual)
                df = max(satterthwaite(parts, variance), min(df, seeds - 1))
    return symmetric(
        Estimate(
            mean=_mean(scores),
            variance=variance,
            df=df,
            seeds=seeds,
            images=images,
            observations=seeds * images,
            informative=images if informative is None else informative,
            basis=basis,
            groups=None if groups is None else groups.count,
        )
    )


def mean_scores(
    qualities: Sequence[Quality], images: int, folds: int | None, informative: int, groups: Groups | None
) -> dict[str, Interval]:
    """Return the means over seeds of each of `SCORES`, or of paired differences of them, with their intervals.

    A score that is undefined for a seed is left out.

    Args:
        qualities: one per seed.
        images, folds, groups: as in `mean_score`.
        informative: as in `mean_score`; every image informs log loss and calibration error.
    """
    return {
        name: mean_score(
            [quality.scores[k] for quality in qualities],
            np.stack([quality.resampled[k] for quality in qualities]),
            images,
            folds,
            None if name in ("log_loss", "calibration_error") else informative,
            groups,
        )
        for k, name in enumerate(SCORES)
        if not any(math.isnan(quality.scores[k]) for quality in qualities)
    }


def _correction(groups: Groups, folds: int) -> float:
    """Return the factor that removes the bias of a variance over resampled groups (see the module)."""
    share = folds * sum(int(size) ** 2 for size in groups.sizes) / len(groups.of_image) ** 2
    return 1 / (1 - min(share, LARGEST_SHARE))


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float] | np.ndarray) -> float:
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
