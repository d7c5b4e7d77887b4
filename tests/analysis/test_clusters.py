"""Test images that come in groups: the groups are the units of every interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.bootstrap import RESAMPLES, image_counts, mean_score
from benchmark.analysis.uncertainty.clusters import Groups, as_groups, effective_number, parts
from benchmark.analysis.uncertainty.crossed import crossed, mean_squares
from benchmark.analysis.uncertainty.folds import UNTESTED, over_folds
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference

RANDOM = np.random.default_rng(11)


def groups_of(codes: Any) -> Groups:
    found = as_groups(np.asarray(codes))
    assert found is not None
    return found


def test_images_that_are_each_their_own_group_give_the_variance_of_images() -> None:
    values = RANDOM.integers(-1, 2, size=(4, 60)) + (RANDOM.random((1, 60)) < 0.3)
    found = parts(values, Groups(np.arange(60), np.ones(60, dtype=np.int64)))
    ms = mean_squares(values)
    assert found.seeds == pytest.approx(ms.seed / 240)
    assert found.groups == pytest.approx(ms.image / 240)
    assert found.residual == pytest.approx(ms.residual / 240)
    assert as_groups(np.arange(60)[::-1]) is None
    assert mean_difference(values, None, groups=np.arange(60)) == mean_difference(values, None)


@pytest.mark.parametrize("seeds", [1, 4])
def test_groups_of_one_size_are_what_their_sums_would_be_as_images(seeds: int) -> None:
    codes = RANDOM.permutation(np.repeat(np.arange(15), 8))
    values = (RANDOM.random((seeds, 120)) < 0.3 + 0.4 * RANDOM.random(15)[codes]).astype(np.int64)
    sums = np.stack([np.bincount(codes, weights=row).astype(np.int64) for row in values])
    found, wanted = crossed(values, 1, groups_of(codes)), crossed(sums, scale=8)
    assert found.mean == pytest.approx(wanted.mean)
    assert found.variance == pytest.approx(wanted.variance)
    assert found.df == pytest.approx(wanted.df)
    assert (found.images, found.groups) == (120, 15)


def test_one_seed_on_groups_of_one_size_is_the_t_test_of_the_groups_means() -> None:
    codes = np.repeat(np.arange(12), 31)
    values = (RANDOM.random((1, 372)) < 0.2 + 0.6 * RANDOM.random(12)[codes]).astype(np.int64)
    found = mean_difference(values, None, groups=codes)
    means = values.reshape(12, 31).mean(axis=1)
    by_scipy = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([by_scipy.low, by_scipy.high])


@pytest.mark.parametrize("folds", [None, 3])
def test_showing_every_image_seven_times_adds_no_information(folds: int | None) -> None:
    values = np.where(RANDOM.random((3, 60)) < 0.1, 0, RANDOM.integers(-1, 2, size=(1, 60)))
    if folds is not None:
        values[np.arange(60)[None, :] % 3 != np.arange(3)[:, None]] = UNTESTED
    repeated, codes = np.repeat(values, 7, axis=1), np.repeat(np.arange(60), 7)
    once, often = mean_difference(values, folds), mean_difference(repeated, folds, groups=codes)
    assert [often.low, often.high, often.df] == pytest.approx([once.low, once.high, once.df])
    assert (often.images, often.groups) == (420, 60)
    ungrouped = mean_difference(repeated, folds)
    assert ungrouped.standard_error is not None and once.standard_error is not None
    assert ungrouped.standard_error < 0.75 * once.standard_error


def test_the_order_of_seeds_and_images_changes_nothing() -> None:
    values, codes = RANDOM.integers(0, 2, size=(5, 90)), RANDOM.integers(0, 20, 90)
    rows, columns = RANDOM.permutation(5), RANDOM.permutation(90)
    there = mean_accuracy(values, None, codes)
    assert mean_accuracy(values[rows][:, columns], None, codes[columns]) == there
    assert mean_accuracy(values, None, 1000 - 3 * codes) == there


@pytest.mark.parametrize("of_group", [0.0, 0.8])
def test_the_variance_is_right_on_average_whether_groups_matter_or_not(of_group: float) -> None:
    sizes = np.array([30, 20, 10, *[5] * 8, *[1] * 20])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(3)
    means, variances = [], []
    for _ in range(2000):
        margin = of_group * random.normal(size=len(sizes))[codes] + random.normal(size=(1, len(codes)))
        found = crossed((margin > 0.3).astype(np.int64), 1, groups_of(codes))
        assert found.variance is not None
        means.append(found.mean)
        variances.append(found.variance)
    assert np.mean(variances) == pytest.approx(np.var(means, ddof=1), rel=0.12)


def test_few_large_groups_among_many_small_ones_leave_few_degrees_of_freedom() -> None:
    assert effective_number(np.array([31] * 12)) == pytest.approx(12)
    assert effective_number(np.ones(128, dtype=np.int64)) == pytest.approx(128)
    assert effective_number(np.array([40, *[1] * 60])) == pytest.approx(1660**2 / (40**4 + 60))
    assert effective_number(np.array([40, *[1] * 60])) < 1.1


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_group_of_images_gives_no_interval(seeds: int) -> None:
    values, one = RANDOM.integers(0, 2, size=(seeds, 20)), np.zeros(20, dtype=np.int64)
    for interval in (mean_difference(values, None, groups=one), mean_accuracy(values, None, one)):
        assert (interval.low, interval.high, interval.df, interval.groups) == (None, None, None, 1)
        assert interval.mean == pytest.approx(values.mean())
        assert not interval.carries_a_verdict
    same = np.ones((seeds, RESAMPLES))
    assert mean_score([1.0] * seeds, same, 20, None, groups=groups_of(one)).half_width is None


def test_a_fold_of_one_group_gives_no_interval() -> None:
    values = np.full((2, 20), UNTESTED)
    values[0, :10], values[1, 10:] = RANDOM.integers(0, 2, 10), RANDOM.integers(0, 2, 10)
    codes = np.array([0] * 10 + [1] * 5 + [2] * 5)
    found = over_folds(values, 2, groups=groups_of(codes))
    assert (found.variance, found.df, found.groups, found.images) == (None, None, 3, 20)
    assert found.mean == pytest.approx(values[values != UNTESTED].mean())


def test_the_bootstrap_of_groups_agrees_with_the_variance_of_groups() -> None:
    codes = np.repeat(np.arange(12), 31)
    margin = RANDOM.normal(size=(4, 1)) * 0.2 + RANDOM.normal(size=12)[codes] + RANDOM.normal(size=(4, 372))
    values = (margin > -0.8).astype(np.int64)
    counts = image_counts(12)[codes]
    resampled = values @ counts / counts.sum(axis=0)
    found = mean_score(values.mean(axis=1).tolist(), resampled, 372, None, groups=groups_of(codes))
    wanted = mean_difference(values, None, groups=codes)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.08)
    assert (found.images, found.groups) == (372, 12)


def test_the_bootstrap_of_groups_in_folds_agrees_with_the_variance_over_folds() -> None:
    codes = np.repeat(np.arange(60), 7)
    fold = codes % 3
    right = (RANDOM.normal(size=60)[codes] + 0.5 * RANDOM.normal(size=420) > -0.6).astype(np.int64)
    values = np.where(fold[None, :] == np.arange(3)[:, None], right, UNTESTED)
    scored = []
    for k in range(3):
        own = groups_of(codes[fold == k])
        counts = image_counts(own.count)[own.of_image]
        scored.append((right[fold == k].mean(), right[fold == k] @ counts / counts.sum(axis=0)))
    resampled = np.stack([row for _, row in scored])
    found = mean_score([mean for mean, _ in scored], resampled, 420, 3, groups=groups_of(codes))
    wanted = mean_difference(values, 3, groups=codes)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.12)
