"""The store: records are written and read completely or not at all."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.records.record import DoneRun, PredictionTable, SplitMetrics, UnfinishedRun
from benchmark.records.store import DamagedRecord, Store
from tests.factories import done, predictions, spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results" / "small")


@pytest.fixture
def saved(store: Store) -> DoneRun:
    record = store.save(done(spec()), predictions())
    assert isinstance(record, DoneRun)
    return record


OPTIONAL = ("reason", "traceback", "exhibits")
"""Fields that a done run may lack."""


def damage(store: Store, run_id: str, change: Any) -> DamagedRecord:
    """Change a record's JSON on disk by a function, and return what is then read."""
    path = store.path(run_id)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    read = store.load(path)
    assert isinstance(read, DamagedRecord)
    return read


def test_a_record_reads_back_equal(store: Store, saved: DoneRun) -> None:
    assert store.load(store.path(saved.id)) == saved
    assert list(store.scan()) == [saved]
    assert saved.predictions is not None
    assert (saved.predictions.file, saved.predictions.rows) == (f"{saved.id}.parquet", 5)


def test_a_failed_run_has_a_record_without_results(store: Store) -> None:
    run = spec()
    record = UnfinishedRun(id=run.id, status="failed", reason="why", spec=run, started_at="a", finished_at="b")
    assert store.load(store.path(store.save(record).id)) == record


def test_predictions_read_back_in_order_with_their_types(store: Store, saved: DoneRun) -> None:
    frame, table = store.predictions(saved).to_frame(), predictions()
    assert list(frame.columns) == ["image_id", "label", "predicted", "p0", "p1"]
    assert tuple(frame["image_id"]) == table.image_id
    assert frame["label"].dtype == frame["predicted"].dtype == np.int64
    assert frame["p0"].dtype == np.float32
    np.testing.assert_array_equal(frame["label"], table.label)
    np.testing.assert_array_equal(frame["predicted"], table.predicted)
    np.testing.assert_array_equal(frame[["p0", "p1"]], table.probabilities)


def test_losses_that_are_not_finite_survive_in_valid_json(store: Store) -> None:
    record = done(spec())
    bad = record.history[0].model_copy(update={"val_loss": math.inf, "train_loss": math.nan})
    saved = store.save(record.model_copy(update={"history": (bad, *record.history[1:])}), predictions())
    text = store.path(saved.id).read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    read = store.load(store.path(saved.id))
    assert isinstance(read, DoneRun)
    assert read.history[0].val_loss == math.inf
    assert math.isnan(read.history[0].train_loss or 0)


def test_a_record_cut_anywhere_is_damaged_and_never_read_as_a_result(store: Store, saved: DoneRun) -> None:
    path = store.path(saved.id)
    content = path.read_bytes()
    lengths = range(0, len(content) - 2, 100)
    assert len(lengths) > 20
    for length in lengths:
        path.write_bytes(content[:length])
        read = store.load(path)
        assert isinstance(read, DamagedRecord), length
        assert read.path == path


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"\xff\xfe", b"[]", b"null", b"{}", b"[" * 10_000])
def test_bytes_that_are_no_record_are_damaged(store: Store, saved: DoneRun, content: bytes) -> None:
    store.path(saved.id).write_bytes(content)
    (read,) = store.scan()
    assert isinstance(read, DamagedRecord)
    assert "\n" not in read.reason


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, 75.0, math.nan, math.inf])
def test_an_accuracy_that_is_no_share_is_refused(accuracy: float) -> None:
    with pytest.raises(ValidationError):
        SplitMetrics(accuracy=accuracy, balanced_accuracy=0.5, roc_auc=0.5, macro_f1=0.5, log_loss=0.5)


def test_a_record_under_the_name_of_another_run_is_damaged(store: Store, saved: DoneRun) -> None:
    other = store.path(spec(seeds=[1]).id)
    store.path(saved.id).rename(other)
    (read,) = store.scan()
    assert read == DamagedRecord(path=other, reason=f"contains the record of another run, {saved.id}")


def test_probabilities_of_many_classes_take_two_thirds_of_their_bytes_and_come_back_bit_for_bit() -> None:
    logits = np.random.default_rng(0).normal(size=(2000, 60)) * 3
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names, labels = tuple(map(str, range(2000))), logits.argmax(axis=1)
    table = PredictionTable(names, labels, labels, shares.astype(np.float32))
    plain = io.BytesIO()
    table.to_frame().to_parquet(plain, index=False, compression="zstd")
    written = table.to_parquet()
    assert len(written) < 0.75 * len(plain.getvalue())
    assert pd.read_parquet(io.BytesIO(written)).equals(table.to_frame())


RESULTS = [name for name, field in UnfinishedRun.model_fields.items() if field.default is None and name not in OPTIONAL]


@pytest.mark.parametrize("key", [*RESULTS, "history"])
def test_a_done_record_without_one_of_its_results_is_damaged(store: Store, saved: DoneRun, key: str) -> None:
    assert damage(store, saved.id, lambda record: record.pop(key)).reason == f"{key}: Field required"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: record.pop("schema_version"), "schema version"),
        (lambda record: record.pop("protocol_version"), "schema version"),
        (lambda record: record.update(schema_version=1), "schema version"),
        (lambda record: record["test"].update(spare=1), "test.spare: "),
        (lambda record: record["spec"].update(seed=1), "its spec belongs to another run"),
        (lambda record: record["predictions"].update(file="../../secret.parquet"), "predictions of another run"),
    ],
)
def test_a_record_with_another_version_field_spec_or_file_is_damaged(
    store: Store, saved: DoneRun, change: Any, reason: str
) -> None:
    assert reason in damage(store, saved.id, change).reason


def test_predictions_that_are_missing_or_not_those_of_the_record_are_refused(store: Store, saved: DoneRun) -> None:
    path = store.records / f"{saved.id}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"does not match the hash in .*json\. Run it again with --force"):
        store.predictions(saved)
    path.unlink()
    with pytest.raises(UserError, match="predictions cannot be read"):
        store.predictions(saved)


def test_records_come_in_the_order_of_ids_and_nothing_else_is_taken_for_one(store: Store) -> None:
    ids = [store.save(done(spec(seeds=[seed])), predictions()).id for seed in range(5)]
    (store.records / ".x.json.abc.tmp").write_text("half")
    (store.records / "notes.txt").write_text("hello")
    assert [item.id for item in store.scan() if isinstance(item, DoneRun)] == sorted(ids)
    assert len(list(store.scan())) == 5
    assert list(Store(store.folder / "nowhere").scan()) == []
