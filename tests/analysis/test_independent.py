"""The intervals, recomputed by other ways: loops over the formulas of the books, and statistics that scipy has."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.crossed import mean_squares
from benchmark.analysis.uncertainty.inference import equivalence_p_value, holm, p_value, pooled, smallest_visible
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference

RANDOM = np.random.default_rng(7)
VALUES = RANDOM.integers(-1, 2, size=(4, 60)) + (RANDOM.random((1, 60)) < 0.3)


def sums_of_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Return the sums of squares of rows, columns and residuals, residual by residual."""
    grand, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    of_rows = sum(values.shape[1] * (r - grand) ** 2 for r in rows)
    of_columns = sum(values.shape[0] * (c - grand) ** 2 for c in columns)
    residual = sum(
        (values[s, i] - rows[s] - columns[i] + grand) ** 2
        for s in range(values.shape[0])
        for i in range(values.shape[1])
    )
    return float(of_rows), float(of_columns), float(residual)


def test_mean_squares_are_those_of_the_residuals_and_add_up_to_the_total() -> None:
    found = mean_squares(VALUES)
    rows, columns, residual = sums_of_squares(VALUES)
    seeds, images = VALUES.shape
    assert found.seed == pytest.approx(rows / (seeds - 1))
    assert found.image == pytest.approx(columns / (images - 1))
    assert found.residual == pytest.approx(residual / ((seeds - 1) * (images - 1)))
    assert rows + columns + residual == pytest.approx(((VALUES - VALUES.mean()) ** 2).sum())


def test_an_interval_is_the_formula_of_its_module_worked_out_again() -> None:
    seeds, images = VALUES.shape
    rows, columns, residual = sums_of_squares(VALUES)
    ms = rows / (seeds - 1), columns / (images - 1), residual / ((seeds - 1) * (images - 1))
    variance = (max(ms[0] - ms[2], 0) + max(ms[1] - ms[2], 0) + ms[2]) / (seeds * images)
    share = min(ms[0] * min(1, ms[0] / ms[2]) ** 4 / (seeds * images * variance), 1)
    df = 1 / (share**1.5 / (seeds - 1) + (1 - share) / (images - 1))
    half_width = stats.t.ppf(0.975, df) * math.sqrt(variance)
    found = mean_difference(VALUES, None)
    assert found.df == pytest.approx(df)
    assert found.half_width == pytest.approx(half_width)
    ends = VALUES.mean() - half_width, VALUES.mean() + half_width
    assert [found.low, found.high] == pytest.approx(ends)


def test_one_seed_gives_the_t_test_of_its_images() -> None:
    values = VALUES[:1]
    found = mean_difference(values, None)
    by_scipy = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([by_scipy.low, by_scipy.high])


def test_a_cell_of_independent_answers_has_wilsons_interval_with_t() -> None:
    correct = (RANDOM.random((1, 400)) < 0.8).astype(np.int64)
    found = mean_accuracy(correct, None)
    wilson = stats.binomtest(int(correct.sum()), 400).proportion_ci(0.95, method="wilson")
    assert [found.low, found.high] == pytest.approx([wilson.low, wilson.high], abs=1e-3)


def test_p_values_are_those_of_the_t_that_the_interval_is_made_of() -> None:
    found = mean_difference(VALUES, None)
    assert found.standard_error is not None
    t = found.mean / found.standard_error
    assert p_value(found) == pytest.approx(2 * stats.t.cdf(-abs(t), found.df))
    low = 1 - stats.t.cdf((found.mean + 0.5) / found.standard_error, found.df)
    high = stats.t.cdf((found.mean - 0.5) / found.standard_error, found.df)
    assert equivalence_p_value(found, 0.5) == pytest.approx(max(low, high))


def test_holm_rejects_what_its_step_down_procedure_rejects() -> None:
    for _ in range(50):
        p_values = (RANDOM.random(6) ** 3).tolist()
        order = sorted(range(6), key=p_values.__getitem__)
        rejected: set[int] = set()
        for step, k in enumerate(order):
            if p_values[k] >= 0.05 / (6 - step):
                break
            rejected.add(k)
        assert {k for k, p in enumerate(holm(p_values)) if p < 0.05} == rejected


def test_the_smallest_visible_difference_is_seen_in_four_of_five_repetitions() -> None:
    found = mean_difference(VALUES, None)
    visible = smallest_visible(found)
    assert visible is not None and found.standard_error is not None and found.df is not None
    critical = stats.t.ppf(0.975, found.df)
    power = stats.nct.sf(critical, found.df, visible / found.standard_error)
    assert power == pytest.approx(0.80, abs=0.02)


def test_the_mean_of_datasets_is_welchs_interval() -> None:
    """Welch's test of two samples is the same sum of variances with Satterthwaite's degrees of freedom."""
    first, second = RANDOM.integers(-1, 2, size=(1, 50)), RANDOM.integers(-1, 2, size=(1, 80))
    found = pooled([mean_difference(first, None), mean_difference(second, None)])
    welch = stats.ttest_ind(first[0], -second[0], equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert found.df == pytest.approx(welch.df)
    assert [found.low, found.high] == pytest.approx([interval.low / 2, interval.high / 2])
