"""The intervals against independent computations, by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from benchmark.analysis.statistics import Interval, crossed_mean, mean_squares

BY_HAND = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
"""Three seeds, four images. Row means 3/4, 1/2, 1/4; column means 1, 2/3, 1/3, 0; grand mean 1/2."""

matrices = hnp.arrays(
    np.int64, st.tuples(st.integers(2, 6), st.integers(2, 30)), elements=st.integers(min_value=-1, max_value=1)
)


def test_mean_squares_agree_with_a_computation_by_hand() -> None:
    ms = mean_squares(BY_HAND)
    # SS_seed = 4 (1/16 + 0 + 1/16) = 1/2; SS_image = 3 (1/4 + 1/36 + 1/36 + 1/4) = 5/3; SS_total = 12 / 4 = 3.
    assert ms.seed == pytest.approx(0.5 / 2)
    assert ms.image == pytest.approx((5 / 3) / 3)
    assert ms.residual == pytest.approx((3 - 0.5 - 5 / 3) / 6)


def test_the_interval_agrees_with_a_computation_by_hand() -> None:
    interval = crossed_mean(BY_HAND)
    seed, image, residual = 1 / 4, 5 / 9, 5 / 36
    combined = seed + image - residual
    df = combined**2 / (seed**2 / 2 + image**2 / 3 + residual**2 / 6)
    by_hand = stats.t.ppf(0.975, df) * math.sqrt(combined / 12)
    assert interval.mean == 0.5
    assert interval.df == pytest.approx(df)
    assert by_hand > 3 / 4 or interval.floored
    assert interval.half_width == pytest.approx(max(by_hand, 3 / 4))


@given(matrices)
def test_mean_squares_agree_with_the_definition_in_floats(values: np.ndarray) -> None:
    seeds, images = values.shape
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - rows - columns + values.mean()
    ms = mean_squares(values)
    assert ms.seed == pytest.approx(images * rows.var(ddof=1), abs=1e-9)
    assert ms.image == pytest.approx(seeds * columns.var(ddof=1), abs=1e-9)
    assert ms.residual == pytest.approx((residuals**2).sum() / ((seeds - 1) * (images - 1)), abs=1e-9)


@given(matrices, st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_images_changes_no_bit(values: np.ndarray, random: np.random.Generator) -> None:
    rows, columns = list(range(values.shape[0])), list(range(values.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert crossed_mean(values[rows][:, columns]) == crossed_mean(values)


@given(matrices)
def test_turning_a_difference_round_turns_its_sign_only(values: np.ndarray) -> None:
    there, back = crossed_mean(values), crossed_mean(-values)
    assert (back.mean, back.half_width) == (-there.mean, there.half_width)


@given(matrices, st.integers(1, 4))
def test_a_scale_divides_mean_and_half_width(values: np.ndarray, scale: int) -> None:
    plain, scaled = crossed_mean(values), crossed_mean(values * scale, scale=scale)
    assert scaled.mean == pytest.approx(plain.mean)
    assert scaled.half_width == pytest.approx(plain.half_width)


@settings(max_examples=30)
@given(hnp.arrays(np.int64, st.tuples(st.just(1), st.integers(2, 40)), elements=st.integers(-1, 1)))
def test_one_seed_gives_the_t_interval_over_images_and_says_so(values: np.ndarray) -> None:
    interval = crossed_mean(values)
    images = values.shape[1]
    plain = stats.t.ppf(0.975, images - 1) * values[0].std(ddof=1) / math.sqrt(images)
    assert interval.basis == "images"
    assert interval.half_width == pytest.approx(max(plain, 3 / images))
    assert not interval.carries_a_verdict


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_cell_without_a_single_difference_does_not_claim_to_be_certain(value: int, seeds: int) -> None:
    interval = crossed_mean(np.full((seeds, 128), value))
    assert interval.mean == value
    assert interval.half_width == 3 / 128
    assert interval.floored


def test_a_negative_component_is_taken_as_zero_and_leaves_the_others() -> None:
    # Every seed has the same mean: MS_seed = 0 < MS_residual, so the seeds' component is below zero.
    values = np.array([[1, 0, 1, 0, 1, 1] * 10, [0, 1, 1, 0, 1, 1] * 10, [1, 1, 0, 0, 1, 1] * 10])
    ms = mean_squares(values)
    assert ms.seed == 0 < ms.residual < ms.image
    df = ms.image**2 / (ms.image**2 / 59 + ms.residual**2 / 118)
    expected = stats.t.ppf(0.975, df) * math.sqrt(ms.image / 180)
    assert crossed_mean(values).half_width == pytest.approx(expected)


def test_one_image_gives_a_mean_without_an_interval() -> None:
    interval = crossed_mean(np.array([[1], [0], [1]]))
    assert interval.mean == pytest.approx(2 / 3)
    assert (interval.half_width, interval.low, interval.high, interval.sign) == (None, None, None, 0)


@pytest.mark.parametrize("values", [np.zeros((0, 5), int), np.zeros((3, 0), int), np.zeros(4, int), np.zeros((2, 2))])
def test_what_is_no_matrix_of_integers_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="values must"):
        crossed_mean(values)


def test_two_seeds_never_give_a_verdict_however_clear_the_difference() -> None:
    clear = np.ones((2, 100), dtype=int)
    assert crossed_mean(clear).low > 0  # type: ignore[operator]
    assert crossed_mean(clear).sign == 0
    assert crossed_mean(np.ones((3, 100), dtype=int)).sign == 1
    assert crossed_mean(-np.ones((3, 100), dtype=int)).sign == -1


def test_an_interval_that_touches_zero_is_no_verdict() -> None:
    assert Interval(0.1, 0.1, 5.0, 3, 100, "seeds and images").sign == 0
