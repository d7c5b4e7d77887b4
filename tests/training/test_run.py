from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_accelerated.callbacks import CallbackMethodNotImplementedError
from safetensors import safe_open

from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DoneRun, EpochRecord
from benchmark.records.store import Store
from benchmark.training import run
from benchmark.training.context import Outcome, RunContext
from tests import factories


def context(folder: Path, **given: object) -> RunContext:
    return RunContext(**{"data_dir": folder, "weights_folder": folder / "weights", **given})  # type: ignore[arg-type]


def measured(spec: RunSpec, folder: Path, **given: object) -> Outcome:
    return run.train_and_score(spec, context(folder, **given), factories.dataset)


def test_a_run_leaves_a_whole_record_whose_scores_are_its_predictions(tmp_path: Path) -> None:
    outcome = measured(factories.training_spec(policy="finetune"), tmp_path)
    store = Store(tmp_path)
    saved = store.save(outcome.record, outcome.predictions)
    loaded = store.load(store.path(saved.id))
    assert loaded == saved
    assert isinstance(loaded, DoneRun)
    assert loaded.status == "done"
    frame = store.predictions(loaded).to_frame()
    assert loaded.test is not None
    assert (frame["label"] == frame["predicted"]).mean() == loaded.test.accuracy
    assert (frame[["p0", "p1"]].to_numpy().argmax(1) == frame["predicted"]).all()
    np.testing.assert_allclose(frame[["p0", "p1"]].sum(axis=1), 1, rtol=1e-6)
    assert list(frame["image_id"]) == [f"image-{row}.png" for row in range(60, 80)]
    by_hand = -np.log(frame[["p0", "p1"]].to_numpy()[np.arange(20), frame["label"]]).mean()
    assert loaded.test.log_loss == pytest.approx(by_hand, rel=1e-4)
    assert loaded.validation is not None
    best = loaded.history[loaded.best_epoch or 0]
    assert best.epoch == loaded.best_epoch
    assert best.val_accuracy == loaded.validation.accuracy
    assert best.val_loss == pytest.approx(loaded.validation.log_loss, rel=1e-5)


def test_a_record_says_what_was_trained_on_what_and_how_long(tmp_path: Path) -> None:
    record = measured(factories.training_spec(policy="finetune"), tmp_path, workers=2, preregistered="c0ffee").record
    assert record.environment is not None
    assert record.environment.preregistered == "c0ffee"
    assert record.model is not None
    assert record.timing is not None
    assert record.environment is not None
    assert [stage.trainable for stage in record.model.stages] == ["head", "all"]
    assert record.model.stages[1].trainable_parameters == record.model.parameters
    assert record.model.input_channels == 1
    timing = record.timing
    parts = timing.data_seconds + timing.model_seconds + timing.train_seconds + timing.eval_seconds
    assert 0 < parts <= timing.total_seconds
    of_the_whole_network = sum(epoch.train_seconds for epoch in record.history if epoch.stage == 2)
    assert timing.train_images_per_second == pytest.approx(3 * 40 / of_the_whole_network)
    assert timing.feature_seconds > 0
    assert [stage.cached_features for stage in record.model.stages] == [True, False]
    assert timing.eval_images_per_second == pytest.approx(((1 + 4 + 1) * 20 + 2 * 20) / timing.eval_seconds)
    assert record.environment.threads == 1
    assert record.environment.workers == 2
    assert record.environment.precision == "fp32"
    assert record.environment.packages["torch"] == torch.__version__.partition("+")[0]
    assert record.dataset is not None
    assert (record.dataset.train_images, record.dataset.validation_images, record.dataset.test_images) == (40, 20, 20)
    assert record.memory is not None
    assert record.memory.peak_rss_bytes > 50e6


def test_a_run_that_raises_is_recorded_with_its_traceback(tmp_path: Path) -> None:
    spec = factories.training_spec().model_copy(update={"source": factories.training_spec().source})
    record = run.execute_run(spec, context(tmp_path / "nothing here")).record
    assert record.status == "failed"
    assert record.reason is not None
    assert "UserError" in record.reason
    assert record.traceback is not None
    assert "load_dataset" in record.traceback
    assert record.test is None


@pytest.mark.parametrize("error", [AttributeError, CallbackMethodNotImplementedError])
def test_an_error_in_what_is_called_after_an_epoch_ends_the_run_as_failed(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch:  # the library makes the second of the first, and passes over it
            raise error("an attribute that is not there")

    monkeypatch.setattr(run, "load_run_images", lambda spec, data_dir: factories.dataset(train=8, held_out=4))
    record = run.execute_run(factories.training_spec(epochs=1), context(tmp_path), on_epoch).record
    assert record.status == "failed"
    assert record.reason == f"{error.__name__}: an attribute that is not there"


def test_a_run_writes_nothing_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working, elsewhere = tmp_path / "working", tmp_path / "elsewhere"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(elsewhere / "cache"))
    given = {"checkpoints": elsewhere / "checkpoints", "exhibits": elsewhere / "exhibits", "keep_weights": "all"}
    outcome = measured(factories.training_spec(policy="finetune", epochs=2), elsewhere, **given)
    assert outcome.record.status == "done"
    assert {path.name for path in elsewhere.iterdir()} >= {"cache", "checkpoints", "weights"}
    kept = {path.name.partition(".")[2] for path in (elsewhere / "weights").iterdir()}
    assert kept == {"safetensors", "last.safetensors"}
    for path in (elsewhere / "weights").iterdir():
        with safe_open(path, "pt") as weights:
            assert json.loads(weights.metadata()["reading"]) == {"windows": {}, "clip": False, "frames": "first"}
    assert not list(working.iterdir())


def test_a_run_whose_loss_is_not_finite_is_recorded_as_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_run_images", lambda spec, data_dir: factories.dataset())
    record = run.execute_run(factories.training_spec(lr=1e30), context(tmp_path)).record
    assert record.status == "diverged"
    assert record.reason is not None
    assert "in epoch 1" in record.reason


def test_a_run_out_of_memory_is_recorded_as_oom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(spec: RunSpec, data_dir: Path | None) -> None:
        np.empty((1 << 60,), np.uint8)

    monkeypatch.setattr(run, "load_run_images", too_much)
    assert run.execute_run(factories.training_spec(), context(tmp_path)).record.status == "oom"


@pytest.mark.slow
def test_validation_at_one_for_three_epochs_is_flagged(tmp_path: Path) -> None:
    record = measured(factories.training_spec(epochs=12), tmp_path).record
    perfect = sum(epoch.val_accuracy == 1.0 for epoch in record.history[1:])
    assert perfect >= 3, "the test needs a run that saturates"
    assert record.validation_saturated is True
    short = measured(factories.training_spec(epochs=2), tmp_path).record
    assert sum(epoch.val_accuracy == 1.0 for epoch in short.history) < 3
    assert short.validation_saturated is False


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["finetune", "finetune-whole", "scratch"])
def test_resnetrs50_goes_through_a_whole_run_of_the_full_matrixs_protocol(policy: str, tmp_path: Path) -> None:
    overrides = ["training.epochs=1", "training.head_epochs=1", "weights=none", "seeds=[0]", f"policies=[{policy}]"]
    specs = expand(file.load(file.find("full"), [*overrides, "datasets=[beans]", "input_modes=[grey-1ch]"]))
    (spec,) = specs
    assert (spec.model, spec.image_size) == ("timm/resnetrs50.tf_in1k", 224)
    data = factories.dataset(train=16, held_out=4, size=224)
    record = run.train_and_score(spec, context(tmp_path), lambda: data).record
    assert record.status == "done"
    assert [epoch.epoch for epoch in record.history] == list(range(3 if policy == "finetune" else 2))
    assert record.model is not None
    assert record.model.mean == pytest.approx((0.449,))


def control(dataset: str, mode: str, folder: Path) -> float:
    overrides = [f"datasets=[{dataset}]", f"input_modes=[{mode}]", "policies=[finetune-whole]", "seeds=[0]"]
    training = ["training.image_size=48", "training.epochs=3", "training.early_stopping=null"]
    (spec,) = expand(file.load(file.find("cpu"), overrides + training))
    record = run.execute_run(spec, context(folder)).record
    assert record.status == "done", record.traceback
    assert record.test is not None
    return record.test.accuracy


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
def test_colour_is_learnt_from_rgb_and_cannot_be_learnt_from_grey(own_cache: Path) -> None:
    assert control("hue-control", "rgb", own_cache) >= 0.95
    for mode in ("grey-3ch", "grey-1ch"):
        assert control("hue-control", mode, own_cache) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["rgb", "grey-3ch", "grey-1ch"])
def test_shape_is_learnt_in_every_input_mode(mode: str, own_cache: Path) -> None:
    assert control("shape-control", mode, own_cache) >= 0.95
