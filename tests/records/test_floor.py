"""Floor rows on disk: read back as they were written, or named as damaged; which ones a matrix has and lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix.expand import expand
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records.floor import METHODS, FloorSpec, FloorStore, damaged_rows, floor_specs, plan_floor
from benchmark.records.store import DamagedRecord
from tests.factories import done, floor_predictions, floor_row, matrix, save_floor, spec

RUNS = expand(matrix(datasets=["beans", {"name": "beans", "label": "few", "limit": 60}], seeds=[0, 1]))
(ROW, *_) = floor_specs(RUNS)


@pytest.fixture
def store(tmp_path: Path) -> FloorStore:
    save_floor(tmp_path, RUNS)
    return FloorStore(tmp_path)


def changed(store: FloorStore, **values: Any) -> None:
    """Change keys of a row's JSON on disk; None removes one."""
    path = store.path(ROW.id)
    found = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


@pytest.mark.parametrize("method", METHODS)
def test_a_row_reads_back_as_it_was_written_and_names_its_predictions(tmp_path: Path, method: Any) -> None:
    made = floor_row(ROW.model_copy(update={"method": method}))
    store = FloorStore(tmp_path)
    store.save(made, floor_predictions(made))
    read = store.load(made.id)
    assert read is not None
    assert not isinstance(read, DamagedRecord)
    assert read.model_copy(update={"predictions": None}) == made
    assert read.predictions is not None
    assert read.predictions.rows == 10
    store.answers(read)
    assert sorted(path.name for path in store.folder.iterdir()) == [f"{made.id}.json", f"{made.id}.parquet"]


def test_every_dataset_of_the_runs_has_one_row_per_method_whatever_their_seeds() -> None:
    assert [(row.dataset, row.method) for row in floor_specs(RUNS)] == [
        (dataset, method) for dataset in ("beans", "few") for method in METHODS
    ]
    assert len({row.id for row in floor_specs(RUNS)}) == 2 * len(METHODS)


def test_a_cross_validated_folder_has_a_row_per_fold() -> None:
    folder = {"name": "folder:/a/b", "content": "0" * 64, "colour": True, "folds": True}
    rows = floor_specs(expand(matrix(datasets=[folder], seeds=[0, 1, 5, 6])))
    assert [row.fold for row in rows if row.method == "1-nn"] == [0, 1]
    rows = floor_specs(expand(matrix(datasets=[{**folder, "folds": False}], seeds=[0, 1, 5, 6])))
    assert [row.fold for row in rows if row.method == "1-nn"] == [None], "it has a test split"


def test_folds_and_splits_that_follow_the_seed_have_rows_of_their_own_where_the_dataset_has_no_test_split() -> None:
    def splits(**changes: Any) -> list[tuple[str, int, int | None]]:
        runs = expand(matrix(datasets=["elpv", "beans"], input_modes=["grey-1ch"], seeds=[0, 1, 5], **changes))
        return [(row.dataset, row.split_seed, row.fold) for row in floor_specs(runs) if row.method == "1-nn"]

    assert splits() == [("elpv", 0, None), ("beans", 0, None)]
    assert splits(evaluation="folds") == [("elpv", 0, 0), ("elpv", 0, 1), ("beans", 0, None)]
    assert splits(split_seed="seed") == [(name, seed, None) for name in ("elpv", "beans") for seed in (0, 1, 5)]


DECISIVE: dict[str, Any] = {
    "source": DatasetSource(name="rps"),
    "split_seed": 1,
    "evaluation": "folds",
    "fold": 1,
    "on_bad_image": "drop",
    "on_leak": "keep",
    "method": "5-nn",
}


def test_an_id_depends_on_what_decides_the_scores_and_on_nothing_else() -> None:
    assert set(DECISIVE) == set(FloorSpec.model_fields) - {"dataset"}
    ids = {FloorSpec.model_validate({**ROW.model_dump(), key: value}).id for key, value in DECISIVE.items()}
    assert len(ids | {ROW.id}) == len(DECISIVE) + 1
    assert FloorSpec.model_validate({**ROW.model_dump(), "dataset": "another label"}).id == ROW.id
    here, there = (
        ROW.model_copy(update={"source": DatasetSource(name=f"folder:{path}/x", content="0" * 64)})
        for path in ("/here", "/there")
    )
    assert here.portable.id == FloorSpec.model_validate(there.model_dump()).id
    assert "/here" not in here.portable.model_dump_json()


def test_rows_are_pending_until_they_are_saved(tmp_path: Path) -> None:
    assert [row.state for row in plan_floor(RUNS, tmp_path, [])] == ["pending"] * 8
    save_floor(tmp_path, RUNS[:1])
    assert [row.state for row in plan_floor(RUNS, tmp_path, [])] == ["done"] * 4 + ["pending"] * 4


def test_a_row_of_other_images_than_the_newest_runs_is_pending(store: FloorStore, tmp_path: Path) -> None:
    record = done(RUNS[0])
    assert {row.state for row in plan_floor(RUNS, tmp_path, [record])} == {"done"}
    others = record.model_copy(update={"dataset": record.dataset.model_copy(update={"fingerprint": "0" * 16})})
    assert [row.state for row in plan_floor(RUNS, tmp_path, [others])] == ["pending"] * 4 + ["done"] * 4


def test_a_row_of_another_protocol_is_pending_whatever_its_schema(store: FloorStore, tmp_path: Path) -> None:
    changed(store, protocol_version=PROTOCOL_VERSION + 1, validation=None, added=1)
    assert [row.state for row in plan_floor(RUNS, tmp_path, [])] == ["pending"] + ["done"] * 7


def other_predictions(store: FloorStore) -> None:
    store.path(ROW.id).with_suffix(".parquet").write_bytes(b"PAR1")


DAMAGES: dict[str, tuple[Callable[[FloorStore], object], str]] = {
    "cut": (lambda store: store.path(ROW.id).write_bytes(store.path(ROW.id).read_bytes()[:300]), "file: "),
    "empty": (lambda store: store.path(ROW.id).write_bytes(b""), "file: "),
    "score": (lambda store: changed(store, validation={"accuracy": 75}), "validation.accuracy: "),
    "key": (lambda store: changed(store, spare=1), "spare: "),
    "name": (lambda store: changed(store, id="0" * 16), "contains another floor row"),
    "spec": (lambda store: changed(store, spec=json.loads(floor_specs(RUNS)[1].model_dump_json())), "contains another"),
    "version": (lambda store: changed(store, schema_version=2), "not of schema version 1"),
    "no version": (lambda store: changed(store, protocol_version=None), "not of schema version 1"),
    "unnamed": (lambda store: changed(store, predictions=None), "names no predictions of its own"),
    "predictions": (other_predictions, "its predictions have changed"),
    "missing": (
        lambda store: store.path(ROW.id).with_suffix(".parquet").unlink(),
        "its predictions cannot be read: No such file",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_is_named_and_never_read_as_a_result(store: FloorStore, tmp_path: Path, damage: str) -> None:
    spoil, reason = DAMAGES[damage]
    spoil(store)
    planned = plan_floor(RUNS, tmp_path, [])
    assert [row.state for row in planned] == ["damaged"] + ["done"] * 7
    assert planned[0].row is None
    (found,) = damaged_rows([*planned, *planned])
    assert found.path == store.path(ROW.id)
    assert found.reason.startswith(reason)


def test_a_writer_killed_before_the_row_itself_leaves_it_pending_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    store, row = FloorStore(tmp_path), floor_row(ROW)
    write_atomically(store.path(row.id).with_suffix(".parquet"), b"predictions")
    unfinished = store.folder / f".{row.id}.json.abc.tmp"
    unfinished.write_text("half")
    assert store.load(row.id) is None
    store.save(row, floor_predictions(row))
    assert not isinstance(store.load(row.id), DamagedRecord)
    assert not unfinished.exists()


def test_an_accuracy_that_the_predictions_do_not_give_is_refused(store: FloorStore) -> None:
    row = store.load(ROW.id)
    assert row is not None
    assert not isinstance(row, DamagedRecord)
    changed(store, test={**row.test.model_dump(), "accuracy": 0.6})
    read = store.load(ROW.id)
    assert read is not None
    assert not isinstance(read, DamagedRecord)
    with pytest.raises(
        UserError, match=rf"{ROW.id}\.json: test accuracy 0\.6.* on 10 images does not match its predictions: 5 of 10"
    ):
        store.answers(read)


def test_the_id_of_a_run_and_of_a_floor_row_need_the_content_of_a_folder() -> None:
    source = DatasetSource(name="folder:/a/b")
    with pytest.raises(ValueError, match="has no id before its images are identified"):
        assert ROW.model_copy(update={"source": source}).id
    with pytest.raises(ValueError, match="has no id before its images are identified"):
        assert spec().model_copy(update={"source": source}).id
