"""Mean and 95 % interval of a score whose uncertainty comes from two crossed places: seeds and test images.

Model, for the value of seed s on image i (0 or 1 for a cell; -1, 0 or 1 for a paired difference of two cells)::

    Y_si = mu + seed_s + image_i + residual_si

Seeds and images are random and crossed: every seed sees every image, so that images are no fresh sample under each seed
(Baayen, Davidson and Bates 2008, "Mixed-effects modeling with crossed random effects for subjects and items"). With
S seeds and I images the mean squares of the two-way analysis of variance without replication have the expectations::

    E[MS_seed]     = I var_seed  + var_residual
    E[MS_image]    = S var_image + var_residual
    E[MS_residual] =               var_residual

and ``Var(mean) = var_seed / S + var_image / I + var_residual / (S I)`` is estimated from them (Searle, Casella and
McCulloch 1992, "Variance Components", ch. 4; Brennan 2001, "Generalizability Theory", ch. 3)::

    V = (max(MS_seed - MS_residual, 0) + max(MS_image - MS_residual, 0) + MS_residual) / (S I)

A component estimated below zero is taken as zero: the other terms stay, so V never falls below MS_residual / (S I).
The interval is ``mean +- t(0.975, df) sqrt(V)`` with the degrees of freedom of Satterthwaite (1946, "An approximate
distribution of estimates of variance components"); all three mean squares are counted in its denominator, also where a
component was set to zero, because that measured best (`tests/analysis/coverage.md`)::

    df = (S I V)^2 / (MS_seed^2 / (S-1) + MS_image^2 / (I-1) + MS_residual^2 / ((S-1)(I-1)))

Floor: no half-width is smaller than 3 / I. A test set of I images that never shows an event cannot exclude one that
happens to 3 of I images (the rule of three: Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all
right?"). Without it a cell that is right on every image would claim to be certain.

One seed: the seed's part cannot be seen. The interval is over the images alone (``V = MS_image / I``, df = I - 1) and
says so in `Interval.basis`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""Two-sided coverage that the intervals aim at."""

SEEDS_FOR_A_VERDICT = 3
"""Seeds from which the intervals cover what they state (below: see `tests/analysis/coverage.md`)."""


Basis = Literal["seeds and images", "images", "folds"]

UNTESTED = -128
"""Stands for a value that was not measured: the image was not in the seed's fold. Beyond any sum of differences."""


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, in the unit of the values (shares, 0..1 or -1..1).

    Attributes:
        mean: over all seeds and images.
        half_width: of the interval; None where it cannot be estimated (fewer than two images).
        df: degrees of freedom; None with the half-width.
        seeds: number of seeds.
        images: number of test images.
        basis: ``seeds and images``; ``images`` where one seed leaves the seed's part unseen; ``folds`` where each seed
            was tested on another fold of a cross-validation.
        floored: the half-width is the floor of 3 / images, not the estimate.
    """

    mean: float
    half_width: float | None
    df: float | None
    seeds: int
    images: int
    basis: Basis
    floored: bool = False

    @property
    def low(self) -> float | None:
        """Lower end, not clipped."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end, not clipped."""
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def carries_a_verdict(self) -> bool:
        """Whether zero inside or outside the interval may be read as evidence: enough seeds, and a half-width."""
        return self.half_width is not None and self.seeds >= SEEDS_FOR_A_VERDICT

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """1 where the interval lies above zero, -1 below, 0 where it holds zero or may not be read as evidence."""
        if not self.carries_a_verdict or self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of the two-way layout without replication."""

    seed: float
    image: float
    residual: float


def mean_squares(values: np.ndarray) -> MeanSquares:
    """Return the mean squares over seeds, images and what is left.

    The sums are taken in integers, so that their result does not depend on the order of summation.

    Args:
        values: integers, shape (seeds, images), both at least 2.

    Raises:
        ValueError: another shape, or not integers.
    """
    seeds, images = _shape(values)
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


def crossed_mean(values: np.ndarray, scale: int = 1) -> Interval:
    """Return the mean of ``values / scale`` with its 95 % interval for crossed random seeds and images.

    Args:
        values: integers, shape (seeds, images): row s and column i hold one seed's value on one image. For a cell 1 is
            correct and 0 is not; for differences 1, 0 or -1, or sums of such over ``scale`` pairs of cells.
        scale: what the values are divided by.

    Raises:
        ValueError: no seed or no image, a scale below one, or values that are not integers.
    """
    seeds, images = _shape(values)
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    n = seeds * images
    total, _, _, of_all = _sums(values)
    mean = total / (n * scale)
    basis: Basis = "images" if seeds == 1 else "seeds and images"
    if images < 2:
        return Interval(mean, None, None, seeds, images, basis)
    if seeds == 1:
        variance = (images * of_all - total**2) / images / (images - 1) / images
        df = float(images - 1)
    else:
        ms = mean_squares(values)
        combined = max(ms.seed - ms.residual, 0.0) + max(ms.image - ms.residual, 0.0) + ms.residual
        variance = combined / n
        spread = ms.seed**2 / (seeds - 1) + ms.image**2 / (images - 1)
        spread += ms.residual**2 / ((seeds - 1) * (images - 1))
        df = combined**2 / spread if spread > 0 else float((seeds - 1) * (images - 1))
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * math.sqrt(variance) / scale
    floor = 3 / images
    return Interval(mean, max(half_width, floor), df, seeds, images, basis, floored=half_width < floor)


def mean_over_folds(values: np.ndarray, folds: int, scale: int = 1) -> Interval:
    """Return the mean of the folds' means with its 95 % interval: each seed was tested on one fold of K.

    The corrected resampled t-test (Nadeau and Bengio 2003, "Inference for the generalization error"): the training sets
    of two folds overlap, so that the variance of the S fold means counts with 1/S + n_test/n_train = 1/S + 1/(K-1)
    instead of 1/S, t with S - 1 degrees of freedom. Beyond K seeds folds come back with other seeds (repeated
    cross-validation; Bouckaert and Frank 2004, "Evaluating the replicability of significance tests"). Few fold means
    can agree by chance, so the variance is never taken below that of the mean over the distinct images, and no
    half-width is below 3 / images.

    Args:
        values: integers, shape (seeds, images), at least two seeds; `UNTESTED` where a seed did not see an image.
        folds: K.
        scale: what the values are divided by.

    Raises:
        ValueError: fewer than two seeds or folds, or a seed without an image.
    """
    seeds, _ = _shape(values)
    tested = values != UNTESTED
    if seeds < 2 or folds < 2 or not tested.any(axis=1).all():
        raise ValueError(f"folds need two seeds, each with images, got {tested.sum(axis=1)} images of {folds} folds")
    scores = np.where(tested, values, 0).astype(np.int64)
    means = _ratios(scores.sum(axis=1), tested.sum(axis=1) * scale)
    mean = sum(means, Fraction(0)) / seeds
    of_folds = _sample_variance(means) * (Fraction(1, seeds) + Fraction(1, folds - 1))
    seen = tested.any(axis=0)
    by_image = _ratios(scores.sum(axis=0)[seen], tested.sum(axis=0)[seen] * scale)
    of_images = _sample_variance(by_image) / len(by_image) if len(by_image) > 1 else Fraction(0)
    df = float(seeds - 1)
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * math.sqrt(max(of_folds, of_images))
    floor = 3 / len(by_image)
    return Interval(float(mean), max(half_width, floor), df, seeds, len(by_image), "folds", floored=half_width < floor)


def _ratios(numerators: np.ndarray, denominators: np.ndarray) -> list[Fraction]:
    return [Fraction(a, b) for a, b in zip(numerators.tolist(), denominators.tolist(), strict=True)]


def _sample_variance(values: Sequence[Fraction]) -> Fraction:
    mean = sum(values, Fraction(0)) / len(values)
    return sum(((value - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)


def mean_of_scores(values: np.ndarray, folds: int | None, scale: int = 1) -> Interval:
    """Return the mean and interval of scores, whichever way the seeds were tested.

    Args:
        values: integers, shape (seeds, images); `UNTESTED` where a seed did not see an image.
        folds: None: every seed was tested on every image (`crossed_mean`); else K (`mean_over_folds`).
        scale: what the values are divided by.

    Raises:
        ValueError: without folds, a value is missing.
    """
    tested = values != UNTESTED
    if folds is None and not tested.all():
        raise ValueError("a seed was not tested on every image")
    if folds is None or len(values) == 1:
        return crossed_mean(values[:, tested.all(axis=0)], scale)
    return mean_over_folds(values, folds, scale)


def _shape(values: np.ndarray) -> tuple[int, int]:
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"values must have the shape (seeds, images), got {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"values must be integers, got {values.dtype}")
    return int(values.shape[0]), int(values.shape[1])


def _sums(values: np.ndarray) -> tuple[int, int, int, int]:
    """Return the total, the sums of squared row and column totals, and the sum of squares."""
    wide = values.astype(np.int64)
    rows, columns = wide.sum(axis=1), wide.sum(axis=0)
    return int(wide.sum()), int((rows**2).sum()), int((columns**2).sum()), int((wide**2).sum())
