"""Moderated variances of runs, against what limma defines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.uncertainty.design import Part
from benchmark.analysis.uncertainty.runs import Runs, combine, moderate, prior_df


def cells(variances: np.ndarray, df: int = 2) -> list[Runs]:
    return [Runs(Part(float(variance), df), Part(0.0, 100.0)) for variance in variances]


def drawn(number: int, s0: float, d0: float, d: int, seed: int) -> np.ndarray:
    """Return variances with d degrees of freedom of cells whose true ones come from the prior."""
    random = np.random.default_rng(seed)
    true = s0 * d0 / random.chisquare(d0, size=number)
    return np.asarray(true * random.chisquare(d, size=number) / d)


@pytest.mark.parametrize(("d0", "d"), [(6.0, 2), (10.0, 4), (30.0, 9)])
def test_the_prior_of_many_cells_is_found_again(d0: float, d: int) -> None:
    variances = drawn(100_000, 2.5e-4, d0, d, seed=1)
    kinds = np.arange(100_000) % 2
    variances[kinds == 1] *= 9
    assert prior_df(variances, np.full(100_000, d), kinds) == pytest.approx(d0, rel=0.15)
    assert prior_df(variances, np.full(100_000, d), 0 * kinds) < 0.6 * d0


def test_variances_that_differ_by_chance_alone_are_one() -> None:
    variances = np.array([1.0, 1.1, 0.9, 1.0]) * 1e-4
    made = moderate(cells(variances), [0] * 4, [0.8] * 4, [300.0] * 4)
    assert all(each.variance == pytest.approx((1e-4, math.inf)) for each in made)
    for coefficients in ([1.0], [1.0, -1.0], [0.5, -0.5, 0.5, -0.5]):
        assert combine(zip(coefficients, made, strict=False)).variance.df == pytest.approx(8.0)


def test_a_moderated_variance_lies_between_its_own_and_the_priors_with_the_degrees_of_freedom_of_both() -> None:
    variances = np.maximum(drawn(40, 1e-4, 3.0, 2, seed=3), 0.8 * 0.2 / 300 / 100)
    d0 = prior_df(variances, np.full(40, 2), np.zeros(40))
    made = moderate(cells(variances), [0] * 40, [0.8] * 40, [300.0] * 40)
    for own, each in zip(variances, made, strict=True):
        weighted = (d0 * variances.mean() + 2 * own) / (d0 + 2)
        assert each.variance == pytest.approx((weighted, d0 + 2))
        assert combine([(1.0, each)]).variance == pytest.approx((weighted, 1 / (1 / (d0 + 2) + 1 / 80)))


def test_moderated_intervals_of_three_runs_cover_the_truth_where_own_ones_of_the_narrowest_fifth_do_not() -> None:
    random = np.random.default_rng(5)
    narrow = {"own": [0, 0], "moderated": [0, 0]}
    for _ in range(400):
        runs = random.normal(size=(8, 3)) * 0.014
        own = cells(runs.var(axis=1, ddof=1))
        for name, made in (("own", own), ("moderated", moderate(own, [0] * 8, [0.8] * 8, [300.0] * 8))):
            made = [combine([(1.0, each)]) for each in made]
            widths = [stats.t.ppf(0.975, each.variance.df) * math.sqrt(each.variance.variance / 3) for each in made]
            for k in np.argsort(widths)[:2].tolist():
                narrow[name][0] += abs(runs[k].mean()) <= widths[k]
                narrow[name][1] += 1
    shares = {name: covered / number for name, (covered, number) in narrow.items()}
    assert shares["own"] < 0.85
    assert shares["moderated"] > 0.88


def test_runs_from_scratch_that_vary_more_do_not_widen_the_intervals_of_pretrained_ones() -> None:
    variances = np.array([1.0, 1.1, 0.9, 1.0, 16.0, 15.0]) * 1e-4
    *pretrained, one, other = moderate(cells(variances), [1, 1, 1, 1, 0, 0], [0.8] * 6, [300.0] * 6)
    assert all(each.variance.variance == pytest.approx(1e-4) for each in pretrained)
    assert one.variance.variance == other.variance.variance == pytest.approx(15.5e-4)
    assert combine([(1.0, one), (-1.0, other)]).variance.df == pytest.approx(4.0)
    assert combine([(1.0, pretrained[0]), (-1.0, pretrained[1])]).variance.df == pytest.approx(8.0)


def test_cells_of_a_cross_validation_say_less_about_the_scale_because_their_folds_hold_the_same_images() -> None:
    variances = np.array([1.0, 1.1, 0.9, 1.0]) * 1e-4
    for share, wanted in ((0.0, 16.0), (0.5, 1 / (1 / 16 + 0.25 / 4)), (1.0, 1 / (1 / 16 + 1 / 4)), (3.0, 3.2)):
        own = [Runs(Part(float(v), 4), Part(share * 1e-4, 90.0), over_folds=True) for v in variances]
        found = moderate(own, [0] * 4, [0.8] * 4, [300.0] * 4)
        assert combine([(1.0, found[0])]).variance.df == pytest.approx(wanted)


def test_the_only_cell_of_a_kind_keeps_its_own_variance() -> None:
    own = cells(np.array([1e-4, 1.1e-4, 0.9e-4, 1e-4, 16e-4]))
    found = moderate(own, [1, 1, 1, 1, 0], [0.8] * 5, [300.0] * 5)
    assert found[4] == own[4]
    assert found[:4] == moderate(own[:4], [1] * 4, [0.8] * 4, [300.0] * 4)


def test_fewer_than_four_cells_keep_their_own() -> None:
    own = cells(np.array([1e-4, 4e-4, 2e-4]))
    assert moderate(own, [0] * 3, [0.8] * 3, [300.0] * 3) == own


def test_a_cell_that_is_always_right_neither_takes_nor_gives() -> None:
    variances = np.array([1e-4, 4e-4, 2e-4, 3e-4])
    with_it = moderate([*cells(variances), *cells(np.zeros(1))], [0] * 5, [0.8] * 4 + [1.0], [300.0] * 5)
    assert with_it[:4] == moderate(cells(variances), [0] * 4, [0.8] * 4, [300.0] * 4)
    assert with_it[4] == cells(np.zeros(1))[0]


def test_equal_accuracies_of_all_seeds_count_as_a_hundredth_of_the_binomial_variance() -> None:
    variances = np.array([1e-4, 4e-4, 2e-4, 3e-4, 0.0])
    floored = np.maximum(variances, 0.8 * 0.2 / 300 / 100)
    found = moderate(cells(variances), [0] * 5, [0.8] * 5, [300.0] * 5)
    d0, s0 = prior_df(floored, np.full(5, 2), np.zeros(5)), floored.mean()
    wanted = s0 if math.isinf(d0) else d0 * s0 / (d0 + 2)
    assert found[4].variance.variance == pytest.approx(wanted)
    assert found[4].variance.variance > 0


def test_a_comparisons_variance_adds_its_cells_with_the_squares_of_their_coefficients() -> None:
    first, second = Runs(Part(1e-4, 2), Part(2e-5, 50)), Runs(Part(3e-4, 4), Part(4e-5, 80))
    found = combine([(0.5, first), (-0.5, second)])
    assert found.variance.variance == pytest.approx(1e-4)
    assert found.variance.df == pytest.approx(1e-4**2 / ((0.25e-4) ** 2 / 2 + (0.75e-4) ** 2 / 4))
    assert found.of_images.variance == pytest.approx(1.5e-5)


def test_the_scale_that_moderated_cells_share_counts_once_and_two_priors_are_independent() -> None:
    variances = np.array([1e-4, 40e-4, 2e-4, 30e-4])
    one, other = (moderate(cells(variances), [0] * 4, [0.8] * 4, [300.0] * 4) for _ in range(2))
    d0 = prior_df(variances, np.full(4, 2), np.zeros(4))
    a, b = one[0].variance.variance, one[1].variance.variance
    own = (a**2 + b**2) / (d0 + 2)
    together = combine([(1.0, one[0]), (-1.0, one[1])]).variance.df
    assert together == pytest.approx((a + b) ** 2 / (own + (a + b) ** 2 / 8))
    apart = combine([(1.0, one[0]), (-1.0, other[1])]).variance.df
    assert apart == pytest.approx((a + b) ** 2 / (own + a**2 / 8 + b**2 / 8))
