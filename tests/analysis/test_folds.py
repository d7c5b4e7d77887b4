"""Cross-validation: each seed is tested on a fold of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.statistics import UNTESTED, crossed_mean, mean_of_scores, mean_over_folds


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


def test_the_interval_is_the_corrected_resampled_t_test_by_hand() -> None:
    values = dealt(5, 40, np.random.default_rng(1))
    means = [float(row[row != UNTESTED].mean()) for row in values]
    variance = np.var(means, ddof=1) * (1 / 5 + 1 / 4)
    got = mean_over_folds(values, 5)
    assert got.mean == pytest.approx(np.mean(means))
    by_images = np.var(values.max(axis=0), ddof=1) / 200
    expected = stats.t.ppf(0.975, 4) * math.sqrt(max(variance, by_images))
    assert got.half_width == pytest.approx(expected)
    assert (got.seeds, got.images, got.basis, got.df) == (5, 200, "folds", 4)


def test_folds_that_agree_by_chance_are_not_taken_as_certain() -> None:
    values = dealt(3, 20, np.random.default_rng(0))
    for row in values:
        row[row != UNTESTED] = [1] * 16 + [0] * 4
    got = mean_over_folds(values, 3)
    by_images = 0.8 * 0.2 * 60 / 59 / 60
    assert got.half_width == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(by_images))


def test_one_seed_of_a_cross_validation_is_its_fold_alone() -> None:
    values = dealt(5, 40, np.random.default_rng(2), seeds=1)
    fold = values[:, :40]
    assert mean_of_scores(values, 5) == crossed_mean(fold)


def test_folds_that_come_back_count_their_images_once() -> None:
    values = dealt(5, 10, np.random.default_rng(3), seeds=7)
    assert mean_over_folds(values, 5).images == 50
    assert mean_over_folds(values, 5).seeds == 7


def test_without_folds_a_missing_value_is_refused() -> None:
    with pytest.raises(ValueError, match="not tested on every image"):
        mean_of_scores(dealt(5, 10, np.random.default_rng(0)), None)


def test_a_scale_divides_mean_and_half_width() -> None:
    values = dealt(5, 40, np.random.default_rng(4))
    doubled = np.where(values == UNTESTED, UNTESTED, values * 2)
    one, two = mean_over_folds(values, 5), mean_over_folds(doubled, 5, scale=2)
    assert (one.mean, one.half_width) == (two.mean, two.half_width)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_truth_of_independent_folds(seeds: int) -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        interval = mean_over_folds(dealt(5, 48, rng, seeds=seeds), 5)
        assert interval.half_width is not None
        covered += abs(interval.mean - 0.8) <= interval.half_width
    assert covered / 300 >= 0.94
