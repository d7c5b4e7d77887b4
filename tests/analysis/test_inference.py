"""Conclusions from intervals, against scipy and by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.uncertainty.inference import (
    equivalence_p_value,
    holm,
    is_equivalent,
    p_value,
    pool,
    smallest_visible,
)
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference


def interval(mean: float, error: float, df: float = 8.0, seeds: int = 5) -> Interval:
    """Return an interval with the given standard error."""
    half_width = float(stats.t.ppf(0.975, df)) * error
    return Interval(mean, mean - half_width, mean + half_width, error, df, seeds, 200, "seeds and images")


def test_the_p_value_is_that_of_the_t_test() -> None:
    assert p_value(interval(0.03, 0.01)) == pytest.approx(2 * stats.t.sf(3, 8))
    assert p_value(interval(-0.03, 0.01)) == pytest.approx(2 * stats.t.sf(3, 8))


@given(st.floats(-0.2, 0.2), st.floats(0.001, 0.1), st.floats(1.5, 200))
def test_the_p_value_is_below_five_percent_where_the_interval_excludes_zero(
    mean: float, error: float, df: float
) -> None:
    made = interval(mean, error, df)
    p = p_value(made)
    assert p is not None
    assert abs(p - 0.05) < 1e-9 or (p < 0.05) == (made.sign != 0)


def test_two_seeds_have_no_p_value_and_show_nothing() -> None:
    made = interval(0.0, 1e-5, seeds=2)
    assert (p_value(made), smallest_visible(made), is_equivalent(made, 0.01)) == (None, None, False)


def test_holm_agrees_with_a_computation_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values: list[float]) -> None:
    order = sorted(range(6), key=p_values.__getitem__)
    rejected = list(itertools.takewhile(lambda step: p_values[order[step]] * (6 - step) < 0.05, range(6)))
    adjusted = holm(p_values)
    assert {k for k in range(6) if adjusted[k] < 0.05} == {order[step] for step in rejected}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_p_value_and_bonferronis(p_values: list[float]) -> None:
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= 1
        assert adjusted <= max(min(1.0, p * len(p_values)) for p in p_values if p <= plain) + 1e-12


def test_the_smallest_visible_difference_is_seen_in_four_of_five_repetitions() -> None:
    visible = smallest_visible(interval(0.0, 0.01, df=20))
    assert visible is not None
    power = stats.nct.sf(stats.t.ppf(0.975, 20), 20, visible / 0.01)
    assert power == pytest.approx(0.80, abs=0.02)


def test_equivalence_is_the_ninety_percent_interval_within_the_margin() -> None:
    limit = (0.01 - 0.002) / stats.t.ppf(0.95, 8)
    assert is_equivalent(interval(0.002, limit * 0.999), 0.01)
    assert is_equivalent(interval(-0.002, limit * 0.999), 0.01)
    assert not is_equivalent(interval(0.002, limit * 1.001), 0.01)


def test_the_p_value_of_equivalence_is_the_larger_of_two_one_sided_t_tests() -> None:
    values = np.random.default_rng(5).normal(0.002, 0.01, size=9)
    error = values.std(ddof=1) / 3
    made = interval(float(values.mean()), float(error))
    upper = stats.ttest_1samp(values, 0.01, alternative="less").pvalue
    lower = stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
    assert equivalence_p_value(made, 0.01) == pytest.approx(max(upper, lower))


def test_pooling_weighs_each_dataset_the_same() -> None:
    made = pool([interval(0.02, 0.01, df=4), interval(0.06, 0.02, df=10, seeds=3)])
    assert made.mean == pytest.approx(0.04)
    assert made.standard_error == pytest.approx(math.sqrt(0.0001 + 0.0004) / 2)
    assert made.df == pytest.approx(0.0005**2 / (0.0001**2 / 4 + 0.0004**2 / 10))
    assert (made.seeds, made.images) == (3, 400)


def test_a_pooled_interval_has_the_weakest_basis_of_its_parts() -> None:
    one = interval(0.05, 0.02)
    assert pool([one, replace(one, basis="folds")]).basis == "folds"
    assert pool([replace(one, basis="folds"), replace(one, basis="images")]).basis == "images"


def test_the_mean_of_datasets_is_welchs_interval() -> None:
    """Welch's test of two samples is the same sum of variances with Satterthwaite's degrees of freedom."""
    random = np.random.default_rng(7)
    first, second = random.integers(-1, 2, size=(1, 50)), random.integers(-1, 2, size=(1, 80))
    found = pool([mean_difference(first, None), mean_difference(second, None)])
    welch = stats.ttest_ind(first[0], -second[0], equal_var=False)
    by_scipy = welch.confidence_interval(0.95)
    assert found.df == pytest.approx(welch.df)
    assert [found.low, found.high] == pytest.approx([by_scipy.low / 2, by_scipy.high / 2])
