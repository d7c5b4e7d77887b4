"""The intervals against independent computations, by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from benchmark.analysis.uncertainty.crossed import crossed, mean_squares
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference

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


def test_variance_and_degrees_of_freedom_agree_with_a_computation_by_hand() -> None:
    seed, image, residual = 1 / 4, 5 / 9, 5 / 36
    combined = seed + image - residual
    share = seed / combined  # the seeds' mean square lies above the residual: it counts in full
    df = 1 / (share**1.5 / 2 + (1 - share) / 3)
    found = crossed(BY_HAND)
    assert (found.mean, found.seeds, found.images, found.observations, found.informative) == (0.5, 3, 4, 12, 3)
    assert found.variance == pytest.approx(combined / 12)
    assert found.df == pytest.approx(df)


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        ((np.random.default_rng(0).random((3, 30)) < np.linspace(0, 1, 30)).astype(int), 0.3, 1.0),
        (np.array([[1, 0, 1, 0, 1], [0, 1, 1, 0, 1], [1, 1, 0, 0, 1]]).repeat(6, axis=1), 0.0, 0.0),
    ],
)
def test_a_seeds_mean_square_below_the_residual_counts_the_less_the_further_it_lies_below(
    values: np.ndarray, least: float, most: float
) -> None:
    ms = mean_squares(values)
    assert least <= ms.seed / ms.residual <= most
    assert ms.seed < ms.residual < ms.image
    combined = ms.image
    share = ms.seed * (ms.seed / ms.residual) ** 4 / combined
    assert crossed(values).variance == pytest.approx(combined / 90)
    assert crossed(values).df == pytest.approx(1 / (share**1.5 / 2 + (1 - share) / 29))


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
    assert crossed(values[rows][:, columns]) == crossed(values)


@given(matrices)
def test_turning_a_difference_round_turns_its_sign_only(values: np.ndarray) -> None:
    there, back = mean_difference(values, None), mean_difference(-values, None)
    assert there.low is not None and there.high is not None
    assert (back.low, back.mean, back.high) == (-there.high, -there.mean, -there.low)


@given(matrices, st.integers(1, 4))
def test_a_scale_divides_mean_and_half_width(values: np.ndarray, scale: int) -> None:
    plain, scaled = mean_difference(values, None), mean_difference(values * scale, None, scale=scale)
    assert scaled.mean == pytest.approx(plain.mean)
    assert scaled.half_width == pytest.approx(plain.half_width)


@settings(max_examples=30)
@given(hnp.arrays(np.int64, st.tuples(st.just(1), st.integers(2, 40)), elements=st.integers(-1, 1)))
def test_one_seed_gives_the_t_interval_over_images_and_says_so(values: np.ndarray) -> None:
    interval = mean_difference(values, None)
    images = values.shape[1]
    plain = stats.t.ppf(0.975, images - 1) * values[0].std(ddof=1) / math.sqrt(images)
    assert interval.basis == "images"
    assert interval.half_width == pytest.approx(max(plain, 3 / images) if np.count_nonzero(values) < 10 else plain)
    assert not interval.carries_a_verdict


def test_the_rule_of_three_holds_below_ten_images_that_differ() -> None:
    def half_width(differing: int) -> float:
        values = np.zeros((10, 1000), dtype=int)
        values[:, :differing] = (-1) ** np.add.outer(np.arange(10), np.arange(differing))
        found = mean_difference(values, None)
        assert found.half_width is not None
        assert found.floored is (differing < 10)
        return found.half_width

    assert half_width(0) == half_width(9) == pytest.approx(3 / 1000)
    assert half_width(10) < 3 / 1000


def test_an_accuracys_interval_is_wilsons_where_one_seed_saw_independent_images() -> None:
    correct = np.array([[1] * 380 + [0] * 20])
    interval = mean_accuracy(correct, None)
    n = 0.95 * 0.05 / (0.95 * 0.05 / 399)  # the variance is estimated with n - 1
    t = stats.t.ppf(0.975, 399)
    solved = [
        optimize.brentq(lambda p: abs(0.95 - p) - t * math.sqrt(p * (1 - p) / n), *ends)
        for ends in ((0.5, 0.95), (0.95, 0.9999))
    ]
    assert (interval.low, interval.high) == pytest.approx(solved)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("seeds", [1, 3])
def test_an_accuracy_without_an_error_does_not_claim_to_be_certain(value: int, seeds: int) -> None:
    interval = mean_accuracy(np.full((seeds, 128), value), None)
    t = stats.t.ppf(0.975, 127)
    wide = t**2 / (128 + t**2)
    assert (interval.low, interval.high) == pytest.approx((1 - wide, 1) if value else (0, wide))
    assert interval.floored


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 40)), elements=st.integers(0, 1)))
def test_an_accuracys_interval_holds_the_mean_and_stays_within_zero_and_one(correct: np.ndarray) -> None:
    interval = mean_accuracy(correct, None)
    assert interval.low is not None
    assert interval.high is not None
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.low < interval.high
    turned = mean_accuracy(1 - correct, None)
    assert (turned.low, turned.high) == pytest.approx((1 - interval.high, 1 - interval.low))


def test_few_errors_of_many_seeds_count_as_no_more_independent_images_than_there_are() -> None:
    correct = np.ones((10, 128), dtype=int)
    correct[0, 0] = 0
    found = mean_accuracy(correct, None)
    assert found.floored
    assert found.low is not None and found.low < 0.98


def test_one_image_gives_a_mean_without_an_interval() -> None:
    for interval in (mean_difference(np.array([[1], [0], [1]]), None), mean_accuracy(np.array([[1], [0], [1]]), None)):
        assert interval.mean == pytest.approx(2 / 3)
        assert (interval.half_width, interval.low, interval.high, interval.sign) == (None, None, None, 0)


@pytest.mark.parametrize("values", [np.zeros((0, 5), int), np.zeros((3, 0), int), np.zeros(4, int), np.zeros((2, 2))])
def test_what_is_no_matrix_of_integers_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="values must"):
        crossed(values)


def test_two_seeds_never_give_a_verdict_however_clear_the_difference() -> None:
    clear = np.ones((2, 100), dtype=int)
    found = mean_difference(clear, None)
    assert found.low is not None and found.low > 0
    assert found.sign == 0
    assert mean_difference(np.ones((3, 100), dtype=int), None).sign == 1
    assert mean_difference(-np.ones((3, 100), dtype=int), None).sign == -1


def test_an_interval_that_touches_zero_is_no_verdict() -> None:
    assert Interval(0.1, 0.0, 0.2, 0.05, 5.0, 3, 100, "seeds and images").sign == 0


def test_a_negative_component_is_taken_as_zero_and_leaves_the_others() -> None:
    values = np.array([[1, 0, 1, 0, 1, 1] * 10, [0, 1, 1, 0, 1, 1] * 10, [1, 1, 0, 0, 1, 1] * 10])  # equal seed means
    expected = stats.t.ppf(0.975, 59) * math.sqrt(mean_squares(values).image / 180)
    assert mean_difference(values, None).half_width == pytest.approx(expected)
