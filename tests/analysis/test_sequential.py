"""Critical values, levels and intervals of looks after each seed."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.sequential import Look, critical_values, spending

POINT = 0.01


def interval(mean: float, images: float, per_run: float, seeds: int, df: float = 1e6) -> Interval:
    """Return an interval; mean in points, variances in squared points."""
    error = POINT * math.sqrt(images + per_run / seeds)
    half = float(stats.t.ppf(0.975, df)) * error
    mean *= POINT
    ends = (mean, mean - half, mean + half, error, df)
    return Interval(*ends, seeds=seeds, images=400, basis="seeds and images", per_run=per_run * POINT**2)


def look(mean: float, images: float, per_run: float, seeds: int, *, level: float = 0.05, df: float = 1e6) -> Look:
    return Look(interval(mean, images, per_run, seeds, df), POINT, level, 3, 12)


@pytest.mark.parametrize(
    ("shares", "level", "published"),
    [
        # ld98 (Reboussin, DeMets, Kim and Lan 2000), two-sided 5 %
        ((0.2, 0.4, 0.6, 0.8, 1.0), 0.025, (4.877, 3.357, 2.680, 2.290, 2.031)),
        # SeqBounds.jl, one-sided 5 %
        ((0.25, 0.5, 0.75, 1.0), 0.05, (3.74955, 2.53993, 2.01604, 1.72014)),
    ],
)
def test_critical_values_are_those_of_other_programs(
    shares: tuple[float, ...], level: float, published: tuple[float, ...]
) -> None:
    assert critical_values(shares, level) == pytest.approx(published, abs=6e-4)


def test_one_look_has_the_level_of_a_fixed_number_of_seeds() -> None:
    assert spending(0.03, 1.0) == pytest.approx(0.03)
    assert critical_values((7.0,), 0.03) == pytest.approx((NormalDist().inv_cdf(0.97),))


def test_of_paths_without_a_difference_the_level_crosses_at_any_look() -> None:
    information = tuple(1 / (0.4 + 2 / seeds) for seeds in range(3, 13))
    steps = np.sqrt(np.diff(information, prepend=0.0))
    scores = np.cumsum(np.random.default_rng(1).standard_normal((200_000, 10)) * steps, axis=1)
    crossed = scores / np.sqrt(information) >= critical_values(information, 0.05)
    assert crossed.any(axis=1).mean() == pytest.approx(0.05, abs=0.002)


def test_a_look_that_adds_next_to_nothing_has_the_critical_value_of_the_one_before() -> None:
    found = critical_values((0.5, 0.999, 1.0), 0.05)
    assert found == pytest.approx((*critical_values((0.5, 1.0), 0.05), found[1]), abs=1e-9)
    assert critical_values((3.0, 3.0, 3.0), 0.05) == pytest.approx([NormalDist().inv_cdf(0.95)] * 3)


def test_runs_that_cancel_out_but_for_rounding_are_judged_all_the_same() -> None:
    made = replace(interval(0.0, 0.0, 1.0, 3), standard_error=3e-17, low=-7e-17, high=7e-17)
    found = Look(made, POINT, 0.05, 3, 12)
    assert found.has_verdict
    assert found.adjusted().half_width == pytest.approx(7e-17, rel=1.0)


def test_where_images_decide_the_first_look_has_nearly_the_level_of_a_fixed_number_of_seeds() -> None:
    many_images, few_images = look(3, 0.1, 2, 3), look(3, 5.0, 0.2, 3)
    assert many_images.levels[0] < 0.001
    assert few_images.levels[0] > 0.04


def test_early_looks_ask_for_more_than_late_ones() -> None:
    levels = [look(3, 0.1, 2, seeds).levels for seeds in range(3, 13)]
    assert all(early[k] < late[k] for early, late in pairwise(levels) for k in (0, 1))
    assert look(3.4, 0.1, 2, 12).has_verdict
    assert not look(3.0, 0.1, 2, 3).has_verdict
    assert look(12.0, 0.1, 2, 3).has_verdict


def test_equivalence_is_a_verdict_of_a_look() -> None:
    found = look(0.0, 0.001, 0.5, 12)
    assert found.has_verdict
    assert not look(0.0, 0.001, 0.5, 3).has_verdict
    assert not look(0.9, 0.001, 0.5, 12).levels[1] > 0.05


def test_a_verdict_compares_the_p_value_of_students_t() -> None:
    known = [look(mean / 10, 0.1, 2, 6).has_verdict for mean in range(100)].index(True)
    few = [look(mean / 10, 0.1, 2, 6, df=4).has_verdict for mean in range(200)].index(True)
    assert few > 1.5 * known


def test_it_is_futile_where_the_images_forbid_a_verdict_and_only_there() -> None:
    assert look(0.5, 2.0, 1.0, 3).is_futile  # the error of the images alone is 1.4 points
    assert not look(0.5, 0.01, 1.0, 3).is_futile
    assert not look(8.0, 2.0, 1.0, 3).is_futile
    assert not look(0.5, 2.0, 40.0, 3).is_futile  # runs vary so much that anything may come
    assert not look(0.5, 0.0, 1.0, 3).is_futile


def test_an_adjusted_interval_holds_that_of_fixed_seeds_and_far_differences_need_none() -> None:
    for mean, seeds in ((2.2, 6), (-2.2, 6), (3.0, 4), (0.0, 12)):
        found = look(mean, 0.1, 2, seeds)
        fixed, adjusted = found.interval, found.adjusted()
        assert adjusted.half_width is not None
        assert fixed.half_width is not None
        assert fixed.half_width <= adjusted.half_width < 1.5 * fixed.half_width
        assert adjusted.low is not None
        assert adjusted.high is not None
        assert (adjusted.low + adjusted.high) / 2 == pytest.approx(fixed.mean, abs=1e-12)
    far = look(10, 0.1, 2, 3)
    assert far.adjusted().half_width == pytest.approx(far.interval.half_width, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [1.0, 2.0])
def test_intervals_after_a_verdict_hold_the_truth_in_95_percent(truth: float) -> None:
    random, images, per_run = np.random.default_rng(3), 0.05, 2.0
    holds: list[bool] = []
    fixed: list[bool] = []
    for _ in range(800):
        runs = truth + random.normal(0, math.sqrt(images)) + random.normal(0, math.sqrt(per_run), 12)
        for seeds in range(3, 13):
            found = look(float(runs[:seeds].mean()), images, per_run, seeds)
            if found.is_settled:
                break
        final = found.adjusted() if found.has_verdict else found.interval
        for each, own in ((final, holds), (found.interval, fixed)):
            assert each.low is not None
            assert each.high is not None
            own.append(each.low <= truth * POINT <= each.high)
    assert 0.93 <= np.mean(holds) <= 0.97
    assert np.mean(fixed) < np.mean(holds)
