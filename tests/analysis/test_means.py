"""The intervals against independent computations, by hand and by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats

from benchmark.analysis.uncertainty.design import UNTESTED, Design
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference
from benchmark.analysis.uncertainty.runs import between_runs, combine
from tests.analysis.intervals import accuracy_of, difference_of

BY_HAND = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
"""Three seeds, four images. Row means 3/4, 1/2, 1/4; column means 1, 2/3, 1/3, 0; grand mean 1/2."""

matrices = hnp.arrays(
    np.int64, st.tuples(st.integers(2, 6), st.integers(2, 30)), elements=st.integers(min_value=-1, max_value=1)
)


def dealt(
    folds: int, images: int, rng: np.random.Generator, chance: float = 0.8, seeds: int | None = None
) -> np.ndarray:
    """Return correctness, shape (seeds, folds x images); seed s is tested on fold s modulo folds."""
    seeds = folds if seeds is None else seeds
    values = np.full((seeds, folds * images), UNTESTED, dtype=np.int64)
    for seed in range(seeds):
        fold = seed % folds
        values[seed, fold * images : (fold + 1) * images] = rng.random(images) < chance
    return values


def test_variance_and_degrees_of_freedom_agree_with_a_computation_by_hand() -> None:
    # SS_seed = 4 (1/16 + 0 + 1/16) = 1/2; SS_image = 3 (1/4 + 1/36 + 1/36 + 1/4) = 5/3; SS_total = 12 / 4 = 3.
    seed, image, residual = 0.5 / 2, (5 / 3) / 3, (3 - 0.5 - 5 / 3) / 6
    combined_of = image / 12 + (seed - residual) / 12
    df = combined_of**2 / ((image / 12) ** 2 / 3 + (seed / 12) ** 2 / 2 + (residual / 12) ** 2 / 6)
    assert df > 2
    found = difference_of(BY_HAND)
    assert (found.mean, found.seeds, found.images, found.groups) == (0.5, 3, 4, None)
    assert found.df == pytest.approx(df)
    assert found.half_width == pytest.approx(max(stats.t.ppf(0.975, df) * math.sqrt(combined_of), 3 / 4))
    assert found.per_run == pytest.approx((seed - residual) / 4 + residual / 4)


def test_runs_that_differ_less_than_their_images_make_them_add_nothing() -> None:
    values = np.array([[1, 0, 1, 0, 1, 1] * 10, [0, 1, 1, 0, 1, 1] * 10, [1, 1, 0, 0, 1, 1] * 10])  # equal seed means
    of_images = values.mean(axis=0).var(ddof=1) / 60
    found = difference_of(values)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 59) * math.sqrt(of_images))
    assert found.df == pytest.approx(59)


@given(matrices, st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_images_changes_nothing(values: np.ndarray, random: np.random.Generator) -> None:
    rows, columns = list(range(values.shape[0])), list(range(values.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    there, here = difference_of(values[rows][:, columns]), difference_of(values)
    assert (there.mean, there.half_width, there.df) == pytest.approx((here.mean, here.half_width, here.df), abs=1e-12)


@given(matrices)
def test_turning_a_difference_round_turns_its_sign_only(values: np.ndarray) -> None:
    there, back = difference_of(values), difference_of(-values)
    assert there.low is not None
    assert there.high is not None
    assert (back.low, back.mean, back.high) == (-there.high, -there.mean, -there.low)


@given(matrices, st.integers(1, 4), st.booleans())
def test_a_scale_divides_mean_and_half_width(values: np.ndarray, scale: int, in_folds: bool) -> None:
    design = Design()
    if in_folds:
        values, design = dealt(5, 40, np.random.default_rng(4)), Design(folds=5)
    runs = between_runs(values, design)
    assert runs is not None
    plain = mean_difference(values, design, runs)
    scaled = np.where(values == UNTESTED, UNTESTED, values * scale)
    found = mean_difference(scaled, design, runs, scale)
    assert found.mean == pytest.approx(plain.mean)
    assert found.half_width == pytest.approx(plain.half_width)


def test_the_runs_of_two_cells_count_as_independent() -> None:
    random = np.random.default_rng(2)
    first, second = ((random.random((4, 90)) < chance).astype(np.int64) for chance in ([[0.9], [0.6]] * 2, 0.7))
    of_first, of_second = (between_runs(cell, Design()) for cell in (first, second))
    assert of_first is not None
    assert of_second is not None
    found = mean_difference(first - second, Design(), combine([(1, of_first), (-1, of_second)]))
    of_images = (first - second).mean(axis=0).var(ddof=1) / 90
    excess = of_first.excess + of_second.excess
    assert excess > 0
    assert found.standard_error == pytest.approx(math.sqrt(of_images + excess / 4))


@settings(max_examples=30)
@given(hnp.arrays(np.int64, st.tuples(st.just(1), st.integers(2, 40)), elements=st.integers(-1, 1)))
def test_one_seed_gives_the_t_interval_over_images_and_says_so(values: np.ndarray) -> None:
    interval = difference_of(values)
    images = values.shape[1]
    plain = stats.t.ppf(0.975, images - 1) * values[0].std(ddof=1) / math.sqrt(images)
    assert interval.basis == "images"
    assert interval.half_width == pytest.approx(max(plain, 3 / images) if np.count_nonzero(values) < 10 else plain)
    assert not interval.carries_a_verdict


def test_the_rule_of_three_holds_below_ten_images_that_differ() -> None:
    def half_width(differing: int) -> float:
        values = np.zeros((10, 1000), dtype=int)
        values[:, :differing] = (-1) ** np.add.outer(np.arange(10), np.arange(differing))
        found = difference_of(values)
        assert found.half_width is not None
        assert found.floored is (differing < 10)
        return found.half_width

    assert half_width(0) == half_width(9) == pytest.approx(3 / 1000)
    assert half_width(10) < 3 / 1000


def test_an_accuracys_interval_is_wilsons_where_one_seed_saw_independent_images() -> None:
    correct = np.array([[1] * 380 + [0] * 20])
    interval = accuracy_of(correct)
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
    interval = accuracy_of(np.full((seeds, 128), value))
    t = stats.t.ppf(0.975, 127)
    wide = t**2 / (128 + t**2)
    assert (interval.low, interval.high) == pytest.approx((1 - wide, 1) if value else (0, wide))
    assert interval.floored


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 40)), elements=st.integers(0, 1)))
def test_an_accuracys_interval_holds_the_mean_and_stays_within_zero_and_one(correct: np.ndarray) -> None:
    interval = accuracy_of(correct)
    assert interval.low is not None
    assert interval.high is not None
    assert 0 <= interval.low <= interval.mean <= interval.high <= 1
    assert interval.low < interval.high
    turned = accuracy_of(1 - correct)
    assert (turned.low, turned.high) == pytest.approx((1 - interval.high, 1 - interval.low))


def test_few_errors_of_many_seeds_count_as_no_more_independent_images_than_there_are() -> None:
    correct = np.ones((10, 128), dtype=int)
    correct[0, 0] = 0
    found = accuracy_of(correct)
    assert found.floored
    assert found.low is not None
    assert found.low < 0.98


def test_one_image_gives_a_mean_without_an_interval() -> None:
    for of in (mean_difference, mean_accuracy):
        interval = of(np.array([[1], [0], [1]]), Design(), None)
        assert interval.mean == pytest.approx(2 / 3)
        assert (interval.half_width, interval.low, interval.high, interval.sign) == (None, None, None, 0)


@pytest.mark.parametrize("values", [np.zeros((0, 5), int), np.zeros((3, 0), int), np.zeros(4, int), np.zeros((2, 2))])
def test_what_is_no_matrix_of_integers_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="values must"):
        mean_difference(values, Design(), None)


def test_two_seeds_never_give_a_verdict_however_clear_the_difference() -> None:
    clear = np.ones((2, 100), dtype=int)
    found = difference_of(clear)
    assert found.low is not None
    assert found.low > 0
    assert found.sign == 0
    assert difference_of(np.ones((3, 100), dtype=int)).sign == 1
    assert difference_of(-np.ones((3, 100), dtype=int)).sign == -1


def test_an_interval_that_touches_zero_is_no_verdict() -> None:
    assert Interval(0.1, 0.0, 0.2, 0.05, 5.0, 3, 100, "seeds and images").sign == 0


def test_the_variance_of_a_cross_validation_agrees_with_a_computation_by_hand() -> None:
    values = dealt(5, 40, np.random.default_rng(1))
    values[0, :25] = 0  # one fold is clearly worse
    by_fold = [row[row != UNTESTED] for row in values]
    between = np.var([row.mean() for row in by_fold], ddof=1)
    of_fold = [row.var(ddof=1) / 40 for row in by_fold]
    assert between > np.mean(of_fold)
    overlap = 1 / 5 + 1 / 4
    variance = np.sum(of_fold) / 25 + (between - np.mean(of_fold)) * overlap
    squares = np.sum((np.array(of_fold) / 25) ** 2 / 39)
    by_formula = variance**2 / (squares + (between * overlap) ** 2 / 4 + overlap**2 * squares * 25)
    assert by_formula < 4
    found = difference_of(values, Design(folds=5))
    assert found.mean == pytest.approx(np.mean([row.mean() for row in by_fold]))
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-3)  # within folds by n, not by n - 1
    assert found.per_run is not None
    assert found.common == pytest.approx(found.per_run / 4)
    assert found.df == 4
    assert (found.seeds, found.images, found.basis) == (5, 200, "folds")


def test_where_training_sets_make_all_the_difference_it_is_the_corrected_resampled_t_test() -> None:
    values = np.full((5, 500), UNTESTED)
    for fold, right in enumerate((1, 0, 1, 1, 0)):
        values[fold, 100 * fold : 100 * (fold + 1)] = right
    found = difference_of(values, Design(folds=5))
    assert found.standard_error == pytest.approx(math.sqrt(np.var([1, 0, 1, 1, 0], ddof=1) * (1 / 5 + 1 / 4)))
    assert found.df == pytest.approx(4)


def test_folds_that_agree_by_chance_are_not_taken_as_certain() -> None:
    values = dealt(3, 20, np.random.default_rng(0))
    for row in values:
        row[row != UNTESTED] = [1] * 16 + [0] * 4
    got = difference_of(values, Design(folds=3))
    assert got.standard_error == pytest.approx(math.sqrt(np.var([1] * 16 + [0] * 4, ddof=1) / 60))
    assert got.df == pytest.approx(57)


def test_one_seed_of_a_cross_validation_is_its_fold_alone() -> None:
    values = dealt(5, 40, np.random.default_rng(2), seeds=1)
    assert difference_of(values, Design(folds=5)) == difference_of(values[:, :40])


def test_folds_that_come_back_count_their_images_once() -> None:
    values = dealt(5, 10, np.random.default_rng(3), seeds=7)
    found = difference_of(values, Design(folds=5))
    assert (found.images, found.seeds) == (50, 7)


def test_without_folds_a_missing_value_is_refused() -> None:
    with pytest.raises(ValueError, match="not tested on every image"):
        mean_difference(dealt(5, 10, np.random.default_rng(0)), Design(), None)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_truth_of_independent_folds(seeds: int) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        interval = accuracy_of(dealt(5, 48, rng, seeds=seeds), Design(folds=5))
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.8 <= interval.high
    assert covered / 300 >= 0.92
