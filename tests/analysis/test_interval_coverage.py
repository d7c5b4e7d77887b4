"""How often the 95 % intervals hold the truth, in a few worlds; `experiments/studies/interval_coverage.md` has many."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.analysis.scores import SCORES
from benchmark.analysis.uncertainty.design import UNTESTED, Design
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference
from benchmark.analysis.uncertainty.runs import between_runs, combine, moderate
from experiments.studies import batch
from experiments.studies.interval_coverage import (
    REPORTS,
    comparisons,
    coverage,
    grouped,
    images,
    scored_coverage,
    verdicts,
)
from experiments.studies.worlds import GROUPED_WORLDS, WORLDS


def package(
    right: np.ndarray, layout: batch.Layout, kinds: np.ndarray, contrasts: np.ndarray
) -> tuple[list[Interval], list[Interval]]:
    """Return the package's intervals of the comparisons and of the cells; ``right`` has the shape of one simulation."""
    seeds, size, folds = right.shape[1], right.shape[2], layout.folds
    places = 1 if folds is None else min(folds, seeds)
    groups = None if layout.groups is None else np.concatenate([layout.groups + 1000 * f for f in range(places)])
    design = Design(folds, np.tile(layout.labels, places), groups)
    cells = []
    for own in right.astype(np.int64):
        values = np.full((seeds, size * places), UNTESTED)
        for seed, row in enumerate(own):
            first = size * (seed % places if folds else 0)
            values[seed, first : first + size] = row
        cells.append(values)
    own_runs = [found for values in cells if (found := between_runs(values, design)) is not None]
    accuracies = [float(values[values != UNTESTED].mean()) for values in cells]
    runs = moderate(own_runs, kinds.tolist(), accuracies, [float(size)] * len(cells))
    compared = []
    for row in contrasts:
        used = np.flatnonzero(row).tolist()
        scale = round(1 / abs(row[used[0]]))
        total = np.sum([round(row[c] * scale) * np.where(cells[c] == UNTESTED, 0, cells[c]) for c in used], axis=0)
        values = np.where(cells[0] == UNTESTED, UNTESTED, total)
        compared.append(mean_difference(values, design, combine((float(row[c]), runs[c]) for c in used), scale))
    return compared, [mean_accuracy(v, design, combine([(1.0, own)])) for v, own in zip(cells, runs, strict=True)]


@pytest.mark.parametrize("case", range(50))
def test_intervals_of_many_simulations_at_once_are_those_of_the_package(case: int) -> None:
    random = np.random.default_rng(case)
    seeds, cells, each = int(random.integers(2, 7)), int(random.integers(4, 9)), int(random.integers(8, 30))
    labels = np.repeat(np.arange(int(random.integers(1, 4))), each)
    groups = labels * 100 + np.sort(random.integers(0, 5, len(labels))) if case % 4 >= 2 else None
    groups = None if groups is None else np.sort(groups)
    layout = batch.Layout(labels, groups, (None, 3, 5)[case % 3])
    kinds = (np.arange(cells) >= cells - 2).astype(np.int64) if case % 5 else np.zeros(cells, dtype=np.int64)
    shape = (2, cells, seeds, len(labels))
    effects = random.normal(size=shape) + random.normal(size=(2, 1, 1, len(labels)))
    effects += random.normal(size=(2, cells, seeds, 1)) * 0.3
    right = (effects + (3.0 if case % 7 == 0 else 0.5) > 0).astype(np.float64)
    if case % 6 == 0:
        right[0, 0] = 1
    contrasts = comparisons(cells)
    found = batch.estimates(right, layout, kinds, contrasts)
    for k in range(2):
        for own, wanted in zip(found, package(right[k], layout, kinds, contrasts), strict=True):
            for name in ("mean", "low", "high", "df"):
                expected = [getattr(interval, name) for interval in wanted]
                np.testing.assert_allclose(getattr(own, name)[k], expected, rtol=1e-11, atol=1e-12)


def test_what_more_seeds_make_smaller_is_that_of_the_package() -> None:
    right = (np.random.default_rng(2).normal(size=(3, 6, 4, 60)) + 0.5 > 0).astype(np.float64)
    layout, kinds, contrasts = batch.Layout(np.repeat([0, 1], 30)), np.zeros(6, dtype=np.int64), comparisons(6)
    found = batch.estimates(right, layout, kinds, contrasts)[0]
    assert found.per_run is not None
    for k in range(3):
        wanted = [interval.per_run or 0.0 for interval in package(right[k], layout, kinds, contrasts)[0]]
        np.testing.assert_allclose(found.per_run[k], wanted, rtol=1e-11)


def test_moderated_intervals_of_three_seeds_hold_the_truth_and_are_a_quarter_narrower() -> None:
    found = coverage(WORLDS["runs vary differently"], 3, images(372), 300)
    assert found.holds >= 0.93
    assert found.narrowest >= 0.83
    assert found.own_narrowest < 0.83
    assert found.narrower <= 0.75


def test_runs_from_scratch_that_vary_more_leave_the_coverage_as_it_is() -> None:
    found = coverage(WORLDS["from scratch runs vary more"], 5, images(372), 300)
    assert found.holds >= 0.93
    assert found.narrowest >= 0.83


def test_images_of_a_group_taken_as_independent_are_covered_less() -> None:
    world, layout = GROUPED_WORLDS["groups decide"], grouped(39)
    random = np.random.default_rng(8)
    margins, truth = world.draw(100, 3, layout, random)
    contrasts = comparisons(len(world.mu))
    held = []
    for units in (layout, batch.Layout(layout.labels)):
        found, _ = batch.estimates((margins > 0).astype(np.float64), units, world.kinds, contrasts)
        held.append(float(((found.low <= truth @ contrasts.T) & (truth @ contrasts.T <= found.high)).mean()))
    assert held[0] >= 0.9
    assert held[1] < held[0] - 0.1


@pytest.mark.parametrize("name", ["nothing differs, 2 datasets", "all differ by the margin, 2 datasets"])
def test_wrong_verdicts_are_in_few_reports(name: str) -> None:
    assert verdicts(REPORTS[name], 3, images(128), 150).wrong <= 0.05


@pytest.mark.slow
def test_a_score_of_the_crossed_bootstrap_covers_its_truth() -> None:
    found = scored_coverage(WORLDS["runs vary differently"], 5, images(128), 60)
    assert tuple(found) == SCORES
    assert min(difference for difference, _, _ in found.values()) >= 0.85
