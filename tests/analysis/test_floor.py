"""Floor rows by dataset and method: their means, and the best row, chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmark.analysis import frames
from benchmark.analysis.floor import best_floor, by_method
from benchmark.errors import UserError
from benchmark.matrix.expand import expand
from benchmark.records.floor import FloorStore, PlannedRow, floor_specs
from benchmark.records.store import Store
from tests import factories
from tests.factories import floor_predictions, floor_row

MATRIX = factories.grid(datasets=["beans", "elpv"], input_modes=["grey-1ch"], policies=["scratch"])
RUNS = expand(MATRIX)
FOLDER = {"name": "folder:/a/b", "content": "0" * 64, "colour": True, "folds": True}
FOLDS = expand(factories.matrix(datasets=[FOLDER], seeds=[0, 1]))


def rows(accuracies: Mapping[str, tuple[float, float]]) -> list[PlannedRow]:
    """Return beans' rows with these accuracies on validation and test; methods without any are pending."""
    return [
        PlannedRow(spec, floor_row(spec, *accuracies[spec.method]) if spec.method in accuracies else None)
        for spec in floor_specs(RUNS)
        if spec.dataset == "beans"
    ]


def best(accuracies: Mapping[str, tuple[float, float]]) -> str | None:
    found = best_floor("beans", by_method(rows(accuracies)))
    return None if found is None else found.method


def test_the_best_floor_row_is_chosen_on_validation_and_not_on_test() -> None:
    accuracies = {"majority": (0.3, 0.9), "1-nn": (0.6, 0.4), "5-nn": (0.5, 0.8), "logistic": (0.5, 0.7)}
    assert best(accuracies) == "1-nn"


def test_of_equal_rows_the_simplest_is_the_best() -> None:
    assert best({"majority": (0.3, 0.3), "1-nn": (0.5, 0.1), "5-nn": (0.5, 0.9), "logistic": (0.5, 0.9)}) == "1-nn"


def test_a_row_that_is_not_done_is_never_the_best() -> None:
    assert best({"majority": (0.3, 0.3)}) == "majority"
    assert best({}) is None


def test_a_method_of_several_folds_has_their_mean_and_competes_when_all_are_done() -> None:
    specs = floor_specs(FOLDS)
    accuracies = {("1-nn", 0): 0.2, ("1-nn", 1): 0.8, ("5-nn", 0): 0.9}
    planned = [
        PlannedRow(each, floor_row(each, accuracies[key]) if (key := (each.method, each.fold)) in accuracies else None)
        for each in specs
    ]
    floors = {floor.method: floor for floor in by_method(planned)}
    assert floors["1-nn"].mean("validation.accuracy") == pytest.approx(0.5)
    assert floors["1-nn"].mean("test.log_loss") is None
    assert (floors["5-nn"].is_complete, floors["majority"].rows) == (False, ())
    assert best_floor("b", tuple(floors.values())) is floors["1-nn"]


def test_the_table_of_floor_rows_has_one_line_per_row_done_or_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    factories.save_floor(store.folder, [run for run in RUNS if run.dataset == "beans"])
    table = frames.floor(factories.results_of(MATRIX, store))
    assert list(table.columns) == list(frames.FLOOR_COLUMNS)
    assert table["state"].tolist() == ["done"] * 4 + ["pending"] * 4
    assert table["best_of_dataset"].tolist()[:4] == [True, False, False, False]
    assert table["test_accuracy"].tolist()[:4] == [0.5] * 4
    assert table["test_log_loss"].isna().tolist() == [False, True, True, False] + [True] * 4
    assert table["hyperparameters"].tolist()[3] == "C 0.001"


def test_results_refuse_a_floor_row_that_its_predictions_contradict(tmp_path: Path) -> None:
    store, (spec, *_) = Store(tmp_path), floor_specs(RUNS)
    FloorStore(store.folder).save(floor_row(spec, test=0.7), floor_predictions(floor_row(spec, test=0.5)))
    with pytest.raises(UserError, match=f"{spec.id}.json: test accuracy"):
        factories.results_of(MATRIX, store)
