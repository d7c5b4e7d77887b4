"""Conclusions from intervals, against scipy and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.analysis.uncertainty.inference import equivalence_p_value, estimate_need, p_value, smallest_visible
from benchmark.analysis.uncertainty.interval import Interval


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
    assert (p_value(made), smallest_visible(made), equivalence_p_value(made, 0.01)) == (None, None, None)


def test_the_smallest_visible_difference_is_seen_in_four_of_five_repetitions() -> None:
    visible = smallest_visible(interval(0.0, 0.01, df=20))
    assert visible is not None
    power = stats.nct.sf(stats.t.ppf(0.975, 20), 20, visible / 0.01)
    assert power == pytest.approx(0.80, abs=0.02)


def test_equivalence_is_the_ninety_percent_interval_within_the_margin() -> None:
    limit = (0.01 - 0.002) / stats.t.ppf(0.95, 8)
    for made, shown in (
        (interval(0.002, limit * 0.999), True),
        (interval(-0.002, limit * 0.999), True),
        (interval(0.002, limit * 1.001), False),
    ):
        p = equivalence_p_value(made, 0.01)
        assert p is not None
        assert (p < 0.05) is shown


def test_the_p_value_of_equivalence_is_the_larger_of_two_one_sided_t_tests() -> None:
    values = np.random.default_rng(5).normal(0.002, 0.01, size=9)
    error = values.std(ddof=1) / 3
    made = interval(float(values.mean()), float(error))
    upper = stats.ttest_1samp(values, 0.01, alternative="less").pvalue
    lower = stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
    assert equivalence_p_value(made, 0.01) == pytest.approx(max(upper, lower))


def with_parts(error: float, per_run: float, seeds: int = 5, mean: float = 0.0) -> Interval:
    return replace(interval(mean, error, seeds=seeds), per_run=per_run)


def test_sixteen_seeds_tell_where_runs_vary_by_one_point_four() -> None:
    """The audit's figure for beans: two policies averaged, 80 % power for equivalence within a point."""
    per_run = 2 * 0.014**2 / 2
    assert estimate_need(with_parts(math.sqrt(per_run / 5), per_run), 0.01) == (17, None)
    assert estimate_need(with_parts(math.sqrt(0.0115**2 / 5), 0.0115**2), 0.01) == (12, None)


def test_a_difference_beyond_the_margin_takes_what_shows_it() -> None:
    found = estimate_need(with_parts(0.02, 0.002, mean=0.03), 0.01)
    assert found is not None
    assert found.seeds is not None
    error = math.sqrt(0.002 / found.seeds)
    assert 0.03 / error >= stats.norm.ppf(0.975) + stats.norm.ppf(0.8) > 0.03 / math.sqrt(0.002 / (found.seeds - 1))
    stricter = estimate_need(with_parts(0.02, 0.002, mean=0.03), 0.01, level=0.01)
    assert stricter is not None
    assert stricter.seeds is not None
    assert stricter.seeds > found.seeds


def test_where_the_images_alone_leave_too_much_no_number_of_seeds_tells() -> None:
    found = estimate_need(with_parts(0.02, 0.0001), 0.01)
    assert found is not None
    of_images, allowed = 0.02**2 - 0.0001 / 5, (0.01 / (stats.norm.ppf(0.95) + stats.norm.ppf(0.9))) ** 2
    assert found == (None, math.ceil(200 * of_images / (allowed / 2)))
    assert estimate_need(interval(0.0, 0.02), 0.01) is None


def test_where_images_decide_less_than_half_it_is_seeds_that_tell_however_many() -> None:
    assert estimate_need(with_parts(math.sqrt(0.05 / 5), 0.05), 0.01) == (4282, None)


def test_seeds_that_cancel_out_on_every_image_leave_no_error_and_no_crash() -> None:
    none, some = interval(0.0, 0.0), interval(0.02, 0.0)
    assert (p_value(none), p_value(some)) == (1.0, 0.0)
    assert (equivalence_p_value(none, 0.01), equivalence_p_value(some, 0.01)) == (0.0, 1.0)


def test_what_folds_have_in_common_is_made_smaller_by_neither_seeds_nor_images() -> None:
    """Of a variance of 1.0 squared points 0.25 are common: equivalence within a point takes 0.117 in all."""
    made = replace(with_parts(0.01, 1.0e-4), common=0.25e-4)
    assert estimate_need(made, 0.01) == (None, None)
    wide = replace(with_parts(0.01, 1.0e-4, mean=0.03), common=0.25e-4)
    needed = estimate_need(wide, 0.01)
    assert needed is not None
    assert needed.seeds is not None
    allowed = (0.03 / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))) ** 2
    of_images = 1.0e-4 - 0.2e-4 - 0.25e-4
    assert needed.seeds == math.ceil(1.0e-4 / (allowed - 0.25e-4 - of_images))
