"""Conclusions from intervals: p-values, Holm's correction, the smallest visible difference, equivalence, means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from benchmark.analysis.uncertainty.interval import CONFIDENCE, Basis, Interval, t_quantile

SIGNIFICANCE = 1 - CONFIDENCE
POWER = 0.80
"""Power of the smallest visible difference."""

_WEAKEST_FIRST: tuple[Basis, ...] = ("images", "folds", "seeds and images")


def p_value(interval: Interval) -> float | None:
    """Return the two-sided p-value of a mean of zero, from the same t that the interval is made of.

    It is below 0.05 exactly if the interval excludes zero. None if the interval carries no verdict.
    """
    error = interval.standard_error
    if error is None or not interval.carries_a_verdict:
        return None
    return float(2 * special.stdtr(interval.df, -abs(interval.mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979, "A simple sequentially rejective multiple test procedure").

    The k-th smallest of m is multiplied by m - k + 1, made monotonic, capped at 1. The order of the input is kept.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def smallest_visible(interval: Interval) -> float | None:
    """Return the true difference that this comparison would have shown in 80 % of its repetitions.

    (t(0.975, df) + t(0.80, df)) x standard error: Bloom 1995, "Minimum detectable effects". None if the interval
    carries no verdict.
    """
    error = interval.standard_error
    if error is None or interval.df is None or not interval.carries_a_verdict:
        return None
    return (t_quantile((1 + CONFIDENCE) / 2, interval.df) + t_quantile(POWER, interval.df)) * error


def equivalence_p_value(interval: Interval, margin: float) -> float | None:
    """Return the p-value of two one-sided tests that the difference is at least ``margin``, whichever its sign.

    The larger of the two (Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach"):
    below 0.05 exactly if the 90 % interval is within the margin (shares). None if the interval carries no verdict.
    """
    error = interval.standard_error
    if error is None or not interval.carries_a_verdict:
        return None
    return float(special.stdtr(interval.df, (abs(interval.mean) - margin) / error))


def is_equivalent(interval: Interval, margin: float) -> bool:
    """Return whether the difference is shown to be smaller than ``margin`` (shares): both one-sided tests at 5 %."""
    p = equivalence_p_value(interval, margin)
    return p is not None and p < SIGNIFICANCE


def pool(intervals: Sequence[Interval]) -> Interval:
    """Return the unweighted mean of independent means with its interval: each dataset counts the same.

    V = sum(V_d) / D^2 with Satterthwaite's degrees of freedom, sum(V_d)^2 / sum(V_d^2 / df_d). Datasets are fixed: the
    interval is about their mean, not about datasets in general. Seeds are the fewest of any dataset, images and groups
    the sums (an image without a group counts as one).

    Raises:
        ValueError: nothing to pool, or an interval without a half-width.
    """
    errors = [interval.standard_error for interval in intervals]
    if not intervals or any(error is None for error in errors):
        raise ValueError("pooling needs intervals with a half-width")
    variances = [error**2 for error in errors if error is not None]
    total = math.fsum(variances)
    df = total**2 / math.fsum(v**2 / i.df for v, i in zip(variances, intervals, strict=True) if i.df)
    known = [interval.groups for interval in intervals]
    mean = math.fsum(interval.mean for interval in intervals) / len(intervals)
    error = math.sqrt(total) / len(intervals)
    half_width = t_quantile((1 + CONFIDENCE) / 2, df) * error
    return Interval(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        standard_error=error,
        df=df,
        seeds=min(interval.seeds for interval in intervals),
        images=sum(interval.images for interval in intervals),
        basis=min((interval.basis for interval in intervals), key=_WEAKEST_FIRST.index),
        floored=all(interval.floored for interval in intervals),
        groups=sum(interval.groups or interval.images for interval in intervals) if any(known) else None,
    )
