"""The mean of a difference over test sets, with what each contributes and other ways of weighting."""

from __future__ import annotations

from benchmark.analysis.differences import Difference
from benchmark.analysis.uncertainty.pooling import heterogeneity, inverse_variance_mean, pool, random_effects
from benchmark.report.text import escape, p_text, percent, points_with_interval, table


def over_test_sets(difference: Difference) -> str:
    """Return a table of the test sets of a mean, and a sentence on other means; Markdown."""
    intervals = [each.interval for each in difference.pooled if each.interval is not None]
    fixed, mixed, spread = inverse_variance_mean(intervals), random_effects(intervals), heterogeneity(intervals)
    rows = []
    for k, each in enumerate(difference.pooled):
        others = [*intervals[:k], *intervals[k + 1 :]]
        row = (escape(each.contrast.dataset), points_with_interval(intervals[k]), percent(fixed.weights[k]))
        rows.append((*row, points_with_interval(pool(others))))
    contrast = difference.contrast
    title = f"{escape(contrast.first)} − {escape(contrast.second)}, {escape(contrast.context)}, test set by test set:"
    header = ["test set", "points", "weight by inverse variance (%)", "mean without it"]
    fixed_mean, mixed_mean = (f"{percent(found.mean)} ± {percent(found.half_width)}" for found in (fixed, mixed))
    found = f"Cochran's Q is {spread.q:.1f} on {spread.df} degrees of freedom (p {p_text(spread.p)})."
    return (
        f"{title}\n\n{table(header, rows)}\n\n"
        f"Weighted by inverse variance the mean is {fixed_mean}, with random effects {mixed_mean} (DerSimonian and "
        f"Laird; normal intervals). {found}"
    )
