"""A mean with its 95 % interval: symmetric for differences, a score interval for proportions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

CONFIDENCE = 0.95
"""Nominal two-sided coverage of the intervals."""

SEEDS_FOR_A_VERDICT = 3
"""Fewest seeds with which intervals cover as stated (`experiments/studies/interval_coverage.md`)."""

FEW_IMAGES = 10
"""Informative images below which their variance is unreliable (`experiments/studies/interval_coverage.md`)."""

RULE_OF_THREE = 3
"""A test of n images that never shows an event cannot exclude one that happens to 3 of n (Hanley and Lippman-Hand 1983,
"If nothing goes wrong, is everything all right?")."""

Basis = Literal["seeds and images", "images", "folds"]


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, in the unit of the values (shares, 0..1 or -1..1).

    Attributes:
        mean: mean over all seeds and images.
        low: lower end; like the next three, None if it cannot be estimated (fewer than two images).
        high: upper end.
        standard_error: standard error of the mean, including the floor of a symmetric interval.
        df: degrees of freedom.
        seeds: number of seeds.
        images: number of test images.
        basis: ``seeds and images``; ``images`` if there is one seed, so that the seeds' part is unknown; ``folds`` if
            each seed was tested on another fold of a cross-validation.
        floored: whether too few images were informative, so that the rule of three replaces the estimate.
        groups: number of groups of test images, the units of the interval, or None if each image is its own.
        per_run: the part of the variance that shrinks with the number of seeds, for one seed, or None if it is unknown.
        common: the part that neither seeds nor test images make smaller: what training on overlapping folds shares.
    """

    mean: float
    low: float | None
    high: float | None
    standard_error: float | None
    df: float | None
    seeds: int
    images: int
    basis: Basis
    floored: bool = False
    groups: int | None = None
    per_run: float | None = None
    common: float = 0.0

    @property
    def half_width(self) -> float | None:
        """Half the length; for a symmetric interval the number after ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def carries_a_verdict(self) -> bool:
        """Whether zero inside or outside the interval may be read as evidence: enough seeds, and two ends."""
        return self.low is not None and self.seeds >= SEEDS_FOR_A_VERDICT

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """1 if the interval is above zero, -1 if below, 0 if it contains zero or carries no verdict."""
        if not self.carries_a_verdict or self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class Estimate:
    """A mean with its estimated variance.

    Attributes:
        mean: mean over all seeds and images.
        variance: variance of the mean, or None if it cannot be estimated.
        df: degrees of freedom of the variance.
        seeds: number of seeds.
        images: number of distinct test images.
        observations: number of values in the mean.
        informative: images on which any seed has an event: for a difference, those on which two cells differ; for a
            proportion, the wrong ones, or the right ones if these are fewer.
        basis, groups, per_run, common: as in `Interval`.
    """

    mean: float
    variance: float | None
    df: float | None
    seeds: int
    images: int
    observations: int
    informative: int
    basis: Basis
    groups: int | None = None
    per_run: float | None = None
    common: float = 0.0

    @property
    def units(self) -> int:
        """Number of groups, or of images if they are not grouped."""
        return self.images if self.groups is None else self.groups

    def with_interval(
        self,
        low: float | None = None,
        high: float | None = None,
        standard_error: float | None = None,
        floored: bool = False,
    ) -> Interval:
        """Return the mean with its interval, without ends if it cannot be estimated."""
        df = None if low is None else self.df
        own = (self.seeds, self.images, self.basis)
        parts = (self.per_run, self.common)
        return Interval(self.mean, low, high, standard_error, df, *own, floored, self.groups, *parts)


def t_quantile(quantile: float, df: float) -> float:
    """Return the quantile of Student's t with ``df`` degrees of freedom."""
    return float(special.stdtrit(df, quantile))


def symmetric(estimate: Estimate) -> Interval:
    """Return ``mean ± t(0.975, df) sqrt(variance)``, at least ± 3 / units if fewer than ten images are informative.

    Without that floor, the interval of two cells that never differ would have no width, and of two that differ on a
    handful of images would cover 90 %, the narrowest fifth 54 % (128 images of the world in which every other cell
    never errs, `experiments/studies/interval_coverage.md`). Units are images, or their groups.
    """
    if estimate.variance is None or estimate.df is None:
        return estimate.with_interval()
    t = t_quantile((1 + CONFIDENCE) / 2, estimate.df)
    half_width = t * math.sqrt(estimate.variance)
    floor = RULE_OF_THREE / estimate.units if estimate.informative < FEW_IMAGES else 0.0
    floored = half_width < floor
    half_width = max(half_width, floor)
    return estimate.with_interval(estimate.mean - half_width, estimate.mean + half_width, half_width / t, floored)


def score_interval(estimate: Estimate) -> Interval:
    """Return Wilson's interval of a proportion with the effective sample size of correlated observations.

    ``n = p (1 - p) / variance`` independent images would make the mean p as uncertain as it is (Korn and Graubard 1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data");
    Wilson's score interval (1927, "Probable inference, the law of succession, and statistical inference") is taken at
    that n, with t instead of z (Dean and Pagano 2015, "Evaluating confidence interval methods for binomial proportions
    in clustered surveys"). It stays within 0..1 and is not symmetric near the ends. If fewer than ten images are wrong
    (or right), n is at most the number of images, or of their groups.
    """
    if estimate.variance is None or estimate.df is None:
        return estimate.with_interval()
    p, t = estimate.mean, t_quantile((1 + CONFIDENCE) / 2, estimate.df)
    n = p * (1 - p) / estimate.variance if estimate.variance > 0 else math.inf
    floored = estimate.informative < FEW_IMAGES and n > estimate.units
    n = min(n, estimate.units if floored else estimate.observations)
    centre = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half_width = t / (1 + t**2 / n) * math.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    low, high = min(max(centre - half_width, 0.0), p), max(min(centre + half_width, 1.0), p)
    return estimate.with_interval(low, high, math.sqrt(estimate.variance), floored)
