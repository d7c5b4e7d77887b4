"""Means over test sets, against scipy and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.pooling import heterogeneity, inverse_variance_mean, pool, random_effects
from tests.analysis.intervals import difference_of
from tests.analysis.test_inference import interval


def test_pooling_weighs_each_dataset_the_same() -> None:
    made = pool([interval(0.02, 0.01, df=4), interval(0.06, 0.02, df=10, seeds=3)])
    assert made.mean == pytest.approx(0.04)
    assert made.standard_error == pytest.approx(math.sqrt(0.0001 + 0.0004) / 2)
    assert made.df == pytest.approx(0.0005**2 / (0.0001**2 / 4 + 0.0004**2 / 10))
    assert (made.seeds, made.images, made.per_run) == (3, 400, None)
    with_parts = [replace(interval(0.02, 0.01), per_run=0.0004), replace(interval(0.06, 0.02), per_run=0.0008)]
    assert pool(with_parts).per_run == pytest.approx(0.0003)


def test_a_pooled_interval_has_the_weakest_basis_of_its_parts() -> None:
    one = interval(0.05, 0.02)
    assert pool([one, replace(one, basis="folds")]).basis == "folds"
    assert pool([replace(one, basis="folds"), replace(one, basis="images")]).basis == "images"


def test_the_mean_of_datasets_is_welchs_interval() -> None:
    """Welch's test of two samples is the same sum of variances with Satterthwaite's degrees of freedom."""
    random = np.random.default_rng(7)
    first, second = random.integers(-1, 2, size=(1, 50)), random.integers(-1, 2, size=(1, 80))
    found = pool([difference_of(first), difference_of(second)])
    welch = stats.ttest_ind(first[0], -second[0], equal_var=False)
    by_scipy = welch.confidence_interval(0.95)
    assert found.df == pytest.approx(welch.df)
    assert [found.low, found.high] == pytest.approx([by_scipy.low / 2, by_scipy.high / 2])


def test_inverse_variances_weigh_and_q_tells_sets_that_differ() -> None:
    made = [interval(0.00, 0.01), interval(0.02, 0.02), interval(0.10, 0.02)]
    found = inverse_variance_mean(made)
    assert found.weights == pytest.approx((4 / 6, 1 / 6, 1 / 6))
    assert found.mean == pytest.approx(0.02)
    assert found.half_width == pytest.approx(stats.norm.ppf(0.975) / math.sqrt(1e4 + 2500 + 2500))
    q, df, p = heterogeneity(made)
    assert (q, df) == pytest.approx((4 + 0 + 16, 2))
    assert p == pytest.approx(stats.chi2.sf(20, 2))


def test_random_effects_are_those_of_dersimonian_and_laird_by_hand() -> None:
    made = [interval(0.00, 0.01), interval(0.02, 0.02), interval(0.10, 0.02)]
    between = (20 - 2) / (15000 - (1e8 + 2 * 2500**2) / 15000)
    weights = np.array([1 / (1e-4 + between), 1 / (4e-4 + between), 1 / (4e-4 + between)])
    found = random_effects(made)
    assert found.mean == pytest.approx((weights * [0.0, 0.02, 0.1]).sum() / weights.sum())
    assert found.half_width == pytest.approx(stats.norm.ppf(0.975) / math.sqrt(weights.sum()))
    alike = [interval(0.0, 0.01), interval(0.001, 0.01)]
    assert random_effects(alike) == inverse_variance_mean(alike)
