"""Conclusions from intervals: p-values, equivalence, and what a verdict would take."""

from __future__ import annotations

import math
from typing import NamedTuple

from scipy import special

from benchmark.analysis.uncertainty.interval import CONFIDENCE, Interval, t_quantile

SIGNIFICANCE = 1 - CONFIDENCE
POWER = 0.80
"""Power of the smallest visible difference, and of what a comparison needs."""


def p_value(interval: Interval) -> float | None:
    """Return the two-sided p-value of a mean of zero, from the same t that the interval is made of.

    It is below 0.05 exactly if the interval excludes zero. None if the interval carries no verdict.
    """
    error = interval.standard_error
    if error is None or not interval.carries_a_verdict:
        return None
    return float(2 * special.stdtr(interval.df, -_ratio(abs(interval.mean), error)))


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
    return float(special.stdtr(interval.df, _ratio(abs(interval.mean) - margin, error)))


def _ratio(value: float, error: float) -> float:
    """Return a mean in standard errors; without any, seeds cancel out on every image."""
    return value / error if error else math.copysign(math.inf, value) if value else 0.0


def is_equivalent(interval: Interval, margin: float) -> bool:
    """Return whether the difference is shown to be smaller than ``margin`` (shares): both one-sided tests at 5 %."""
    p = equivalence_p_value(interval, margin)
    return p is not None and p < SIGNIFICANCE


class Need(NamedTuple):
    """A number of seeds or, if no number of seeds is enough, of test images; neither if these are not enough."""

    seeds: int | None
    images: int | None


MOST_SEEDS = 1000
"""Number of seeds beyond which it takes more test images instead, unless these decide less than half."""


def estimate_need(interval: Interval, margin: float, level: float = SIGNIFICANCE) -> Need | None:
    """Return what a verdict in 80 % of repetitions would take, were the difference as estimated.

    A difference beyond the margin takes a standard error of at most |d| / (z(1 - level / 2) + z(0.80)) to be shown; of
    one within the margin equivalence is shown with margin / (z(1 - level) + z(0.90)), were there none (Chow, Shao and
    Wang 2008, "Sample Size Calculations in Clinical Research", ch. 3). Where the images' part alone is larger, it
    takes the test images that make it half of the variance allowed, which leaves the other half for the seeds. What
    the folds of a cross-validation have in common leaves less to both.

    Args:
        interval: interval of the comparison, with its parts.
        margin: margin of equivalence, shares.
        level: probability of error at which the comparison is judged.

    Returns:
        The need, or None if the parts are unknown.
    """
    error = interval.standard_error
    if error is None or interval.per_run is None:
        return None
    shown, equivalent = (
        abs(interval.mean) / (_z(1 - level / 2) + _z(POWER)),
        margin / (_z(1 - level) + _z((1 + POWER) / 2)),
    )
    allowed = (shown if abs(interval.mean) > margin else equivalent) ** 2 - interval.common
    if allowed <= 0:
        return Need(None, None)
    of_images = max(error**2 - interval.per_run / interval.seeds - interval.common, 0.0)
    if of_images < allowed:
        seeds = math.ceil(interval.per_run / (allowed - of_images))
        if seeds <= MOST_SEEDS or of_images <= allowed / 2:  # more images would leave the seeds' half as it is
            return Need(max(seeds, 1), None)
    return Need(None, math.ceil(interval.images * of_images / (allowed / 2)))


def _z(quantile: float) -> float:
    return float(special.ndtri(quantile))
