"""Cross-validation: each seed is tested on a fold of its own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.analysis.uncertainty.folds import UNTESTED, over_folds
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference


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


def test_the_variance_agrees_with_a_computation_by_hand() -> None:
    values = dealt(5, 40, np.random.default_rng(1))
    values[0, :25] = 0  # one fold is clearly worse
    by_fold = [row[row != UNTESTED] for row in values]
    between = np.var([row.mean() for row in by_fold], ddof=1)
    within = np.mean([row.var(ddof=1) for row in by_fold])
    assert between > within / 40
    overlap = 1 / 5 + 1 / 4
    variance = within / 200 + (between - within / 40) * overlap
    share = min(between * overlap / variance, 1)
    found = over_folds(values, 5)
    assert found.mean == pytest.approx(np.mean([row.mean() for row in by_fold]))
    assert found.variance == pytest.approx(variance)
    assert found.df == pytest.approx(1 / (share**1.5 / 4 + (1 - share) / 195))
    assert (found.seeds, found.images, found.observations, found.basis) == (5, 200, 200, "folds")


def test_where_training_sets_make_all_the_difference_it_is_the_corrected_resampled_t_test() -> None:
    values = np.full((5, 500), UNTESTED)
    for fold, right in enumerate((1, 0, 1, 1, 0)):
        values[fold, 100 * fold : 100 * (fold + 1)] = right
    found = over_folds(values, 5)
    assert found.variance == pytest.approx(np.var([1, 0, 1, 1, 0], ddof=1) * (1 / 5 + 1 / 4))
    assert found.df == pytest.approx(4)


def test_folds_that_agree_by_chance_are_not_taken_as_certain() -> None:
    values = dealt(3, 20, np.random.default_rng(0))
    for row in values:
        row[row != UNTESTED] = [1] * 16 + [0] * 4
    got = over_folds(values, 3)
    assert got.variance == pytest.approx(np.var([1] * 16 + [0] * 4, ddof=1) / 60)
    assert got.df == pytest.approx(57)


def test_one_seed_of_a_cross_validation_is_its_fold_alone() -> None:
    values = dealt(5, 40, np.random.default_rng(2), seeds=1)
    assert mean_difference(values, 5) == mean_difference(values[:, :40], None)


def test_folds_that_come_back_count_their_images_once() -> None:
    values = dealt(5, 10, np.random.default_rng(3), seeds=7)
    found = over_folds(values, 5)
    assert (found.images, found.seeds, found.observations) == (50, 7, 70)


def test_without_folds_a_missing_value_is_refused() -> None:
    with pytest.raises(ValueError, match="not tested on every image"):
        mean_difference(dealt(5, 10, np.random.default_rng(0)), None)


def test_a_scale_divides_mean_and_half_width() -> None:
    values = dealt(5, 40, np.random.default_rng(4))
    doubled = np.where(values == UNTESTED, UNTESTED, values * 2)
    one, two = mean_difference(values, 5), mean_difference(doubled, 5, scale=2)
    assert (one.mean, one.half_width) == pytest.approx((two.mean, two.half_width))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_truth_of_independent_folds(seeds: int) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        interval = mean_accuracy(dealt(5, 48, rng, seeds=seeds), 5)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.8 <= interval.high
    assert covered / 300 >= 0.92
