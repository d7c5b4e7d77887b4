"""Test images in classes and groups: strata, and the units of every interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.bootstrap import RESAMPLES, image_counts, mean_score
from benchmark.analysis.uncertainty.clusters import Groups, as_groups, effective_number
from benchmark.analysis.uncertainty.design import UNTESTED, Design, images_part, residual_part, units_of
from tests.analysis.intervals import accuracy_of, difference_of

RANDOM = np.random.default_rng(11)


def groups_of(codes: Any) -> Groups:
    found = as_groups(np.asarray(codes))
    assert found is not None
    return found


def test_the_images_part_is_the_textbooks_stratified_variance() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    values = (RANDOM.random((4, 100)) < np.array([0.9, 0.5, 0.2])[labels]).astype(np.int64)
    means = values.mean(axis=0)
    variance = sum((n / 100) ** 2 * means[labels == k].var(ddof=1) / n for k, n in enumerate((50, 30, 20)))
    found = images_part(values, Design(labels=labels))
    assert found is not None
    assert found.variance == pytest.approx(variance)
    assert found.variance < 0.7 * means.var(ddof=1) / 100  # classes of unlike accuracy are not sampled
    parts = np.array([(n / 100) ** 2 * means[labels == k].var(ddof=1) / n for k, n in enumerate((50, 30, 20))])
    assert found.df == pytest.approx(variance**2 / (parts**2 / np.array([49, 29, 19])).sum())


def test_all_errors_in_a_class_of_four_hands_leave_three_degrees_of_freedom() -> None:
    labels, hands = np.repeat([0, 1, 2], 124), np.repeat(np.arange(12), 31)
    values = np.ones((3, 372), dtype=np.int64)
    values[:, :60] = RANDOM.integers(0, 2, (3, 60))
    found = images_part(values, Design(labels=labels, groups=hands))
    without = images_part(values, Design(groups=hands))
    assert found is not None
    assert without is not None
    assert found.df == pytest.approx(3)
    assert without.df == pytest.approx(11)


def test_the_residual_part_is_the_residual_mean_square_and_in_folds_all_of_the_images() -> None:
    values = RANDOM.integers(0, 2, size=(4, 60))
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    squares = ((values - rows - columns + values.mean()) ** 2).sum() / (3 * 59)
    found = residual_part(values, Design())
    assert found == pytest.approx((squares / 60, 3 * 59))
    folded = np.full((2, 60), UNTESTED)
    folded[0, :30], folded[1, 30:] = values[0, :30], values[1, 30:]
    of_folds = residual_part(folded, Design(folds=2))
    wanted = np.mean([values[0, :30].var(ddof=1) / 30, values[1, 30:].var(ddof=1) / 30])
    assert of_folds.variance == pytest.approx(wanted)


def test_a_class_of_one_image_is_joined_with_others() -> None:
    units = units_of(Design(labels=np.array([0, 0, 0, 1, 2, 3, 3])), 7)
    assert units is not None
    assert units.stratum.tolist() == [0, 0, 0, 1, 1, 2, 2]
    alone = units_of(Design(labels=np.array([0, 0, 0, 1, 2, 2])), 6)
    assert alone is not None
    assert alone.stratum.tolist() == [0, 0, 0, 1, 1, 1]
    single = units_of(Design(labels=np.array([0, 1])), 2)
    assert single is not None
    assert single.stratum.tolist() == [0, 0]
    assert units_of(Design(labels=np.array([0])), 1) is None


def test_groups_with_images_of_several_classes_leave_the_classes_aside() -> None:
    units = units_of(Design(labels=np.array([0, 1, 0, 1]), groups=np.array([0, 0, 1, 1])), 4)
    assert units is not None
    assert units.stratum.tolist() == [0, 0]


def test_images_that_are_each_their_own_group_are_no_groups() -> None:
    values = RANDOM.integers(-1, 2, size=(4, 60))
    assert as_groups(np.arange(60)[::-1]) is None
    assert difference_of(values, Design(groups=np.arange(60))) == difference_of(values)


@pytest.mark.parametrize("seeds", [1, 4])
def test_groups_of_one_size_are_what_their_sums_would_be_as_images(seeds: int) -> None:
    codes = RANDOM.permutation(np.repeat(np.arange(15), 8))
    values = (RANDOM.random((seeds, 120)) < 0.3 + 0.4 * RANDOM.random(15)[codes]).astype(np.int64)
    sums = np.stack([np.bincount(codes, weights=row).astype(np.int64) for row in values])
    found, wanted = images_part(values, Design(groups=codes)), images_part(sums, Design())
    assert found is not None
    assert wanted is not None
    assert found == pytest.approx((wanted.variance / 64, wanted.df))


def test_one_seed_on_groups_of_one_size_is_the_t_test_of_the_groups_means() -> None:
    codes = np.repeat(np.arange(12), 31)
    values = (RANDOM.random((1, 372)) < 0.2 + 0.6 * RANDOM.random(12)[codes]).astype(np.int64)
    found = difference_of(values, Design(groups=codes))
    by_scipy = stats.ttest_1samp(values.reshape(12, 31).mean(axis=1), 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([by_scipy.low, by_scipy.high])


@pytest.mark.parametrize("folds", [None, 3])
def test_showing_every_image_seven_times_adds_no_information(folds: int | None) -> None:
    values = np.where(RANDOM.random((3, 60)) < 0.1, 0, RANDOM.integers(-1, 2, size=(1, 60)))
    if folds is not None:
        values[np.arange(60)[None, :] % 3 != np.arange(3)[:, None]] = UNTESTED
    labels = np.arange(60) // 20
    repeated, codes, of_repeated = (np.repeat(each, 7, axis=-1) for each in (values, np.arange(60), labels))
    once = difference_of(values, Design(folds, labels))
    often = difference_of(repeated, Design(folds, of_repeated, codes))
    assert [often.low, often.high, often.df] == pytest.approx([once.low, once.high, once.df])
    assert (often.images, often.groups) == (420, 60)
    if folds is None:
        ungrouped = difference_of(repeated, Design(folds, of_repeated))
        assert ungrouped.standard_error is not None
        assert once.standard_error is not None
        assert ungrouped.standard_error < 0.75 * once.standard_error


def test_the_order_of_images_and_the_names_of_groups_change_nothing() -> None:
    values, codes = RANDOM.integers(0, 2, size=(5, 90)), RANDOM.integers(0, 20, 90)
    rows, columns = RANDOM.permutation(5), RANDOM.permutation(90)
    there = accuracy_of(values, Design(groups=codes))
    for other in (
        accuracy_of(values[rows][:, columns], Design(groups=codes[columns])),
        accuracy_of(values, Design(groups=1000 - 3 * codes)),
    ):
        assert (other.low, other.high, other.df) == pytest.approx((there.low, there.high, there.df), rel=1e-12)


@pytest.mark.parametrize("of_group", [0.0, 0.8])
def test_the_variance_is_right_on_average_whether_groups_matter_or_not(of_group: float) -> None:
    sizes = np.array([30, 20, 10, *[5] * 8, *[1] * 20])
    codes = np.repeat(np.arange(len(sizes)), sizes)
    random = np.random.default_rng(3)
    means, variances = [], []
    for _ in range(2000):
        margin = of_group * random.normal(size=len(sizes))[codes] + random.normal(size=(1, len(codes)))
        values = (margin > 0.3).astype(np.int64)
        found = images_part(values, Design(groups=codes))
        assert found is not None
        means.append(values.mean())
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
    for interval in (difference_of(values, Design(groups=one)), accuracy_of(values, Design(groups=one))):
        assert (interval.low, interval.high, interval.df, interval.groups) == (None, None, None, 1)
        assert interval.mean == pytest.approx(values.mean())
        assert not interval.carries_a_verdict
    same = np.ones((seeds, RESAMPLES))
    assert mean_score([1.0] * seeds, same, 20, None, groups=groups_of(one)).half_width is None


def test_a_fold_of_one_group_gives_no_interval() -> None:
    values = np.full((2, 20), UNTESTED)
    values[0, :10], values[1, 10:] = RANDOM.integers(0, 2, 10), RANDOM.integers(0, 2, 10)
    codes = np.array([0] * 10 + [1] * 5 + [2] * 5)
    found = difference_of(values, Design(folds=2, groups=codes))
    assert (found.half_width, found.df, found.groups, found.images) == (None, None, 3, 20)
    assert found.mean == pytest.approx(values[values != UNTESTED].mean())


def test_the_bootstrap_of_groups_agrees_with_the_variance_of_groups() -> None:
    codes = np.repeat(np.arange(12), 31)
    margin = RANDOM.normal(size=(4, 1)) * 0.2 + RANDOM.normal(size=12)[codes] + RANDOM.normal(size=(4, 372))
    values = (margin > -0.8).astype(np.int64)
    counts = image_counts(12)[codes]
    resampled = values @ counts / counts.sum(axis=0)
    found = mean_score(values.mean(axis=1).tolist(), resampled, 372, None, groups=groups_of(codes))
    wanted = difference_of(values, Design(groups=codes))
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
    wanted = difference_of(values, Design(folds=3, groups=codes))
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.12)
