"""A mean with its 95 % interval: symmetric for differences, a score interval for proportions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from scipy import special

CONFIDENCE = 0.95
"""Two-sided coverage that the intervals aim at."""

SEEDS_FOR_A_VERDICT = 3
"""Seeds from which the intervals cover what they state (below: see `experiments/studies/interval_coverage.md`)."""

FEW_IMAGES = 10
"""Images that show anything, below which a variance estimated from them is not trusted.

See `experiments/studies/interval_coverage.md`."""

RULE_OF_THREE = 3
"""A test of n images that never shows an event cannot exclude one that happens to 3 of n (Hanley and Lippman-Hand 1983,
"If nothing goes wrong, is everything all right?")."""

Basis = Literal["seeds and images", "images", "folds"]


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, in the unit of the values (shares, 0..1 or -1..1).

    Attributes:
        mean: over all seeds and images.
        low: lower end; None, as the next three, where it cannot be estimated (fewer than two images).
        high: upper end.
        standard_error: of the mean; the floor of a symmetric interval counts in it.
        df: degrees of freedom.
        seeds: number of seeds.
        images: number of test images.
        basis: ``seeds and images``; ``images`` where one seed leaves the seed's part unseen; ``folds`` where each seed
            was tested on another fold of a cross-validation.
        floored: too few images showed anything: the rule of three stands in for the estimate.
        groups: number of groups that the test images come in, the units of the interval; None: each image is its own.
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

    @property
    def half_width(self) -> float | None:
        """Half the length; of a symmetric interval what stands after the sign ±."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def carries_a_verdict(self) -> bool:
        """Whether zero inside or outside the interval may be read as evidence: enough seeds, and two ends."""
        return self.low is not None and self.seeds >= SEEDS_FOR_A_VERDICT

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """1 where the interval lies above zero, -1 below, 0 where it holds zero or may not be read as evidence."""
        if not self.carries_a_verdict or self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class Estimate:
    """A mean with its estimated variance.

    Attributes:
        mean: over all seeds and images.
        variance: of the mean; None where it cannot be estimated.
        df: degrees of freedom of the variance.
        seeds: number of seeds.
        images: number of distinct test images.
        observations: values that the mean is over.
        telling: images that any seed saw as an event: on which two cells differ; of a proportion the wrong ones, or the
            right ones where they are fewer.
        basis: what the variance is over.
        groups: number of groups of the images; None: each is its own.
    """

    mean: float
    variance: float | None
    df: float | None
    seeds: int
    images: int
    observations: int
    telling: int
    basis: Basis
    groups: int | None = None

    @property
    def units(self) -> int:
        """Groups of images, or images where each is its own."""
        return self.images if self.groups is None else self.groups

    def within(self, low: float, high: float, standard_error: float, floored: bool) -> Interval:
        """Return the mean with its interval."""
        return replace(
            self.without_ends(), low=low, high=high, standard_error=standard_error, df=self.df, floored=floored
        )

    def without_ends(self) -> Interval:
        """Return the mean with an interval that cannot be estimated."""
        return Interval(
            self.mean, None, None, None, None, self.seeds, self.images, self.basis, floored=False, groups=self.groups
        )


def t_quantile(quantile: float, df: float) -> float:
    """Return the quantile of Student's t with ``df`` degrees of freedom."""
    return float(special.stdtrit(df, quantile))


def symmetric(estimate: Estimate) -> Interval:
    """Return ``mean ± t(0.975, df) sqrt(variance)``, no half-width below 3 / units where fewer than ten images tell.

    Without that floor a comparison in which two cells never differ would claim to be certain, and one in which they
    differ on a handful of images would cover as little as 74 % (the one-sided worlds of
    `experiments/studies/interval_coverage.md`). Units are images, or their groups: a group that
    was not drawn may be another one as a whole.
    """
    if estimate.variance is None or estimate.df is None:
        return estimate.without_ends()
    t = t_quantile((1 + CONFIDENCE) / 2, estimate.df)
    half_width = t * math.sqrt(estimate.variance)
    floor = RULE_OF_THREE / estimate.units if estimate.telling < FEW_IMAGES else 0.0
    floored = half_width < floor
    half_width = max(half_width, floor)
    return estimate.within(estimate.mean - half_width, estimate.mean + half_width, half_width / t, floored)


def score_interval(estimate: Estimate) -> Interval:
    """Return the interval of a proportion: Wilson's with the effective sample size of correlated observations.

    ``n = p (1 - p) / variance`` independent images would make the mean p as uncertain as it is (Korn and Graubard 1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data");
    Wilson's score interval (1927, "Probable inference, the law of succession, and statistical inference") is taken at
    that n, with t in the place of z (Dean and Pagano 2015, "Evaluating confidence interval methods for binomial
    proportions in clustered surveys"). It stays within 0..1, and near them it is not symmetric, as it must be. Where
    fewer than ten images are wrong (or right), n is at most the number of images, or of their groups.
    """
    if estimate.variance is None or estimate.df is None:
        return estimate.without_ends()
    p, t = estimate.mean, t_quantile((1 + CONFIDENCE) / 2, estimate.df)
    n = p * (1 - p) / estimate.variance if estimate.variance > 0 else math.inf
    floored = estimate.telling < FEW_IMAGES and n > estimate.units
    n = min(n, estimate.units if floored else estimate.observations)
    centre = (p + t**2 / (2 * n)) / (1 + t**2 / n)
    half_width = t / (1 + t**2 / n) * math.sqrt(p * (1 - p) / n + t**2 / (4 * n**2))
    low, high = min(max(centre - half_width, 0.0), p), max(min(centre + half_width, 1.0), p)
    return estimate.within(low, high, math.sqrt(estimate.variance), floored)
