"""The mean of a difference over test sets: unweighted, and weighted in other ways.

Unweighted, each test set counts the same, and the answer is about these sets. Weights by inverse variance would let
saturated sets and the largest one decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special

from benchmark.analysis.uncertainty.design import Part, satterthwaite
from benchmark.analysis.uncertainty.interval import CONFIDENCE, Basis, Interval, t_quantile

_WEAKEST_FIRST: tuple[Basis, ...] = ("images", "folds", "seeds and images")

Z = float(special.ndtri((1 + CONFIDENCE) / 2))


def pool(intervals: Sequence[Interval]) -> Interval:
    """Return the unweighted mean of independent means with its interval: each test set counts the same.

    V = sum(V_d) / D^2 with Satterthwaite's degrees of freedom. Test sets are fixed: the interval is about their mean,
    not about test sets in general. Seeds are the fewest of any set, images and groups the sums (an image without a
    group counts as one).

    Raises:
        ValueError: nothing to pool, or an interval without a half-width.
    """
    variances, number = _variances(intervals), len(intervals)
    total = math.fsum(variances)
    df = satterthwaite([Part(v, each.df) for v, each in zip(variances, intervals, strict=True) if each.df], total)
    mean, error = math.fsum(each.mean for each in intervals) / number, math.sqrt(total) / number
    half_width = t_quantile((1 + CONFIDENCE) / 2, df) * error
    known = [each.groups for each in intervals]
    seeds = min(each.seeds for each in intervals)
    per_run = [each.per_run for each in intervals if each.per_run is not None]
    return Interval(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        standard_error=error,
        df=df,
        seeds=seeds,
        images=sum(each.images for each in intervals),
        basis=min((each.basis for each in intervals), key=_WEAKEST_FIRST.index),
        floored=all(each.floored for each in intervals),
        groups=sum(each.groups or each.images for each in intervals) if any(known) else None,
        per_run=math.fsum(per_run) / number**2 if len(per_run) == number else None,
        common=math.fsum(each.common for each in intervals) / number**2,
    )


class WeightedMean(NamedTuple):
    """A weighted mean.

    Attributes:
        mean: shares.
        half_width: half the length of its 95 % interval, from the normal distribution, as if variances were known.
        weights: weight of each set; they sum to 1.
    """

    mean: float
    half_width: float
    weights: tuple[float, ...]


class Heterogeneity(NamedTuple):
    """Cochran's Q with its degrees of freedom and p-value: whether sets differ by more than chance."""

    q: float
    df: int
    p: float


def inverse_variance_mean(intervals: Sequence[Interval], between: float = 0.0) -> WeightedMean:
    """Return the mean weighted by inverse variances, each raised by a variance between sets.

    Raises:
        ValueError: as `pool`.
    """
    weights = [1 / (variance + between) for variance in _variances(intervals)]
    total = math.fsum(weights)
    mean = math.fsum(w * each.mean for w, each in zip(weights, intervals, strict=True)) / total
    return WeightedMean(mean, Z / math.sqrt(total), tuple(w / total for w in weights))


def heterogeneity(intervals: Sequence[Interval]) -> Heterogeneity:
    """Return Cochran's Q of some means (Cochran 1954, "The combination of estimates from different experiments")."""
    mean, df = inverse_variance_mean(intervals).mean, len(intervals) - 1
    q = math.fsum(
        (each.mean - mean) ** 2 / variance for each, variance in zip(intervals, _variances(intervals), strict=True)
    )
    return Heterogeneity(q, df, float(special.chdtrc(df, q)))


def random_effects(intervals: Sequence[Interval]) -> WeightedMean:
    """Return the random-effects mean of DerSimonian and Laird 1986, "Meta-analysis in clinical trials"."""
    weights = [1 / variance for variance in _variances(intervals)]
    total = math.fsum(weights)
    q, df, _ = heterogeneity(intervals)
    scale = total - math.fsum(w**2 for w in weights) / total
    return inverse_variance_mean(intervals, max(0.0, (q - df) / scale))


def _variances(intervals: Sequence[Interval]) -> list[float]:
    errors = [each.standard_error for each in intervals]
    if not intervals or any(error is None for error in errors):
        raise ValueError("pooling needs intervals with a half-width")
    return [error**2 for error in errors if error is not None]
