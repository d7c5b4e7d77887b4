"""Paired differences between a cell and the best floor row of its dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.differences import Difference
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.design import UNTESTED
from benchmark.analysis.verdicts import differences
from benchmark.errors import UserError
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.records.floor import FloorRow, FloorSpec, FloorStore, floor_specs
from benchmark.records.record import PredictionTable
from benchmark.records.store import Store
from tests import factories

MATRIX = factories.grid(datasets=["beans"])
FOLDER = {"name": "folder:/a/b", "content": "0" * 64, "colour": True, "folds": True}
BEST = "best floor row (1-nn)"


def row_of(spec: FloorSpec) -> FloorRow:
    return factories.floor_row(spec, *((0.9, 0.75) if spec.method == "1-nn" else (0.3, 0.3)), test_images=100)


def with_floor(folder: Path, matrix: Matrix, correct: factories.Correct) -> Results:
    """Return results of 100 test images with floor rows, the best of them 1-nn: the first 75 are right."""
    store = factories.fill(folder, matrix, correct)
    for spec in floor_specs(expand(matrix)):
        FloorStore(store.folder).save(row_of(spec), factories.floor_predictions(row_of(spec)))
    return factories.results_of(matrix, store)


def against_floor(results: Results) -> list[Difference]:
    return [each for each in differences(results) if each.contrast.is_against_floor]


def cells_of(results: Results, found: Sequence[Difference]) -> list[Cell]:
    return [results.by_key[each.contrast.pairs[0][0]] for each in found]


def test_each_pretrained_policy_is_compared_in_each_grey_mode_and_answers_no_question(tmp_path: Path) -> None:
    results = with_floor(tmp_path, MATRIX, factories.latent(100))
    found = against_floor(results)
    assert [(each.contrast.family, each.contrast.first, each.contrast.context) for each in found] == [
        ("pretraining", policy, mode) for policy in ("finetune", "finetune-whole") for mode in ("grey-3ch", "grey-1ch")
    ]
    assert {(each.contrast.second, each.contrast.headline) for each in found} == {(BEST, False)}
    for each, cell in zip(found, cells_of(results, found), strict=True):
        assert each.interval is not None
        assert cell.accuracy is not None
        assert each.interval.mean == pytest.approx(cell.accuracy.mean - 0.75)
        assert (each.seeds, each.interval.basis) == ((0, 1, 2), "seeds and images")


def test_its_variance_is_that_of_the_images_by_class_and_of_the_cells_runs_alone(tmp_path: Path) -> None:
    results = with_floor(tmp_path, MATRIX, factories.latent(100, seed_effect=0.8))
    found = against_floor(results)
    assert any(cell.runs is not None and cell.runs.excess for cell in cells_of(results, found))
    listed = factories.image_ids(100)
    is_right = {name: k < 75 for k, name in enumerate(listed)}
    label = np.array([int(name[5:9]) % 3 for name in sorted(listed)])
    floor = np.array([is_right[name] for name in sorted(listed)], dtype=float)
    for each, cell in zip(found, cells_of(results, found), strict=True):
        means = cell.correct.mean(axis=0) - floor
        own = [(np.sum(label == k), means[label == k]) for k in range(3)]
        images = math.fsum(n / 100**2 * values.var(ddof=1) for n, values in own)
        assert each.interval is not None
        assert each.interval.df is not None
        assert cell.runs is not None
        error = math.sqrt(images + cell.runs.excess / 3)
        assert each.interval.standard_error == pytest.approx(error)
        assert each.interval.half_width == pytest.approx(stats.t.ppf(0.975, each.interval.df) * error)


def test_in_a_cross_validation_each_seed_is_compared_with_the_row_of_its_fold(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=[FOLDER], input_modes=["grey-1ch"], policies=["finetune"], seeds=[0, 1, 5])
    store = Store(tmp_path / matrix.name)
    right = {0: 0.5, 1: 0.8}

    def in_fold(table: PredictionTable, fold: int) -> PredictionTable:
        return replace(table, image_id=tuple(f"fold {fold}/{name}" for name in table.image_id))

    for spec in expand(matrix):
        record, predictions = factories.record_of(spec, np.ones(20, dtype=np.int64), dataset={"folds": 5})
        store.save(record, in_fold(predictions, spec.seed % 5))
    for of_fold in floor_specs(expand(matrix)):
        assert of_fold.fold is not None
        row = factories.floor_row(of_fold, 0.5, right[of_fold.fold], test_images=20)
        FloorStore(store.folder).save(row, in_fold(factories.floor_predictions(row), of_fold.fold))
    results = factories.results_of(matrix, store)
    (found,) = against_floor(results)
    assert found.interval is not None
    assert found.contrast.second == "best floor row (majority)"
    assert found.interval.basis == "folds"
    assert found.interval.mean == pytest.approx((0.5 + 0.2 + 0.5) / 3)
    assert UNTESTED in cells_of(results, [found])[0].correct


@pytest.mark.parametrize("what", ["images", "labels"])
def test_a_floor_row_of_other_images_or_labels_is_refused_by_name(tmp_path: Path, what: str) -> None:
    results = with_floor(tmp_path, MATRIX, factories.latent(100))
    row = next(row for floor in results.floor for row in floor.rows if row.spec.method == "1-nn")
    predictions = factories.floor_predictions(row)
    if what == "images":
        changed = replace(predictions, image_id=(*predictions.image_id[:-1], "another.png"))
    else:
        label, predicted = (predictions.label + 1) % 3, (predictions.predicted + 1) % 3
        changed = replace(predictions, label=label, predicted=predicted)
    FloorStore(results.store.folder).save(row, changed)
    with pytest.raises(UserError, match=f"{row.id}.json: its test images or labels differ from those of the runs"):
        differences(factories.results_of(MATRIX, results.store))


def test_it_is_judged_where_its_policy_has_a_verdict_against_scratch(tmp_path: Path) -> None:
    better = {"finetune": 98, "finetune-whole": 61, "scratch": 60}
    results = with_floor(tmp_path, MATRIX, lambda spec: (np.arange(100) < better[spec.policy]).astype(np.int64))
    found = {(each.contrast.first, each.contrast.context): each for each in against_floor(results)}
    assert found["finetune", "grey-1ch"].sign == 1
    whole = found["finetune-whole", "grey-1ch"]
    assert (whole.level, whole.interval is None) == (None, False)


def test_without_another_comparison_of_its_policy_it_is_measured_and_not_judged(tmp_path: Path) -> None:
    matrix = factories.grid(policies=["finetune"], input_modes=["grey-1ch"])
    (found,) = against_floor(with_floor(tmp_path, matrix, factories.latent(100)))
    assert found.interval is not None
    assert found.level is None
