"""A run that resumes from its last epoch ends as if it had never been interrupted."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.execution.claims import remove_done_checkpoints
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.locks import Claims
from benchmark.records.record import EpochRecord
from benchmark.records.store import Store
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import Diverged, Support
from tests import factories
from tests.training.training_runs import without_times


class Interrupted(Exception):
    """Stands for whatever ends a process between two epochs."""


def trained(
    spec: RunSpec, folder: Path | None, stop_after: int | None = None, precision: str = "fp32", every: float = 0
) -> TrainedNetwork:
    """Train with checkpoints in a folder, after each epoch by default; ``stop_after``: be interrupted then."""
    torch.manual_seed(987)  # whatever the process did before
    built, images = factories.network_and_images(spec, factories.dataset())
    kept = Checkpoints(folder, spec.id, {"code": "1"}, every) if folder else None

    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == stop_after:
            raise Interrupted

    return train(built.network, spec, images, precision, Support(on_epoch, kept))


def loaded(folder: Path, spec: RunSpec, identity: dict[str, str]) -> dict[str, Any] | None:
    checkpoints = Checkpoints(folder, spec.id, identity)
    try:
        return checkpoints.load()
    finally:
        checkpoints.close()


def assert_the_same(first: TrainedNetwork, second: TrainedNetwork) -> None:
    assert without_times(first) == without_times(second)
    assert first.run_state.stages == second.run_state.stages
    assert first.best.epoch == second.best.epoch
    for a, b in ((first.last_state, second.last_state), (first.best.state, second.best.state)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(first.test_logits, second.test_logits)
    assert torch.equal(first.last_test_logits, second.last_test_logits)
    assert torch.equal(first.validation_logits, second.validation_logits)
    assert first.run_state.images_trained == second.run_state.images_trained
    assert first.run_state.images_evaluated == second.run_state.images_evaluated


@pytest.mark.parametrize(
    ("stop_after", "precision"),
    [
        *((moment, "fp32") for moment in (1, 4)),
        *(pytest.param(moment, "fp32", marks=pytest.mark.slow) for moment in (0, 2, 3)),
        *(pytest.param(moment, "bf16", marks=pytest.mark.slow) for moment in (3, 4)),
    ],
)
def test_a_run_interrupted_after_any_epoch_ends_bit_for_bit_as_one_that_never_was(
    stop_after: int, precision: str, tmp_path: Path
) -> None:
    spec = factories.training_spec(policy="finetune", epochs=2, head_epochs=2, augment="[hflip, noise]")
    whole = trained(spec, None, precision=precision)
    with pytest.raises(Interrupted):
        trained(spec, tmp_path, stop_after, precision)
    resumed = trained(spec, tmp_path, precision=precision)
    assert_the_same(whole, resumed)
    assert resumed.run_state.resumed_after == ([stop_after] if stop_after else [])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "{sgd: {momentum: 0.9}}"], ids=["adam", "sgd"])
@pytest.mark.parametrize("scheduler", ["{step: {size: 1, gamma: 0.5}}", "constant"], ids=["step", "constant"])
def test_every_optimizer_and_schedule_goes_on_where_it_was(optimizer: str, scheduler: str, tmp_path: Path) -> None:
    model = "timm/test_efficientnet"
    spec = factories.training_spec(
        policy="discriminative", model=model, epochs=3, lr=1e-2, optimizer=optimizer, scheduler=scheduler
    )
    whole = trained(spec, None)
    for stop_after in (1, 2):
        with pytest.raises(Interrupted):
            trained(spec, tmp_path, stop_after)
    resumed = trained(spec, tmp_path)
    assert_the_same(whole, resumed)
    assert resumed.run_state.resumed_after == [1, 2]


def test_each_process_keeps_its_first_epoch_and_then_none_for_some_seconds(tmp_path: Path) -> None:
    spec = factories.training_spec(epochs=5)
    for epochs_done in (1, 2):
        with pytest.raises(Interrupted):
            trained(spec, tmp_path, stop_after=4, every=60)
        kept = loaded(tmp_path, spec, {"code": "1"})
        assert kept is not None
        assert kept["epochs_done"] == epochs_done
    assert_the_same(trained(spec, None), trained(spec, tmp_path))


def test_random_numbers_drawn_in_training_go_on_where_they_were(tmp_path: Path) -> None:
    spec = factories.training_spec(epochs=3)

    def draws(kept: Checkpoints | None, stop_after: int | None, seed: int) -> list[tuple[float, ...]]:
        built, images = factories.network_and_images(spec, factories.dataset())
        drawn: list[tuple[float, ...]] = []

        def on_epoch(record: EpochRecord) -> None:
            if record.epoch == stop_after:
                raise Interrupted

        def draw(*_: object) -> None:
            if torch.is_grad_enabled():
                drawn.append((float(torch.rand(())), random.random(), float(np.random.rand())))

        built.network.register_forward_pre_hook(draw)
        random.seed(seed)
        np.random.seed(seed)
        with contextlib.suppress(Interrupted):
            train(built.network, spec, images, "fp32", Support(on_epoch, kept))
        return drawn

    whole = draws(None, None, seed=1)
    first = draws(Checkpoints(tmp_path, spec.id, {}, every=0), 2, seed=1)
    second = draws(Checkpoints(tmp_path, spec.id, {}), None, seed=2)
    assert first
    assert second
    assert first + second == whole


def test_early_stopping_counts_over_an_interruption(tmp_path: Path) -> None:
    spec = factories.training_spec(epochs=40, early_stopping="{patience: 3}", choose_by="roc_auc")
    whole = trained(spec, None)
    last = whole.run_state.epochs
    assert last < 40
    for stop_after in (last - 1, last):
        with pytest.raises(Interrupted):
            trained(spec, tmp_path, stop_after)
    assert_the_same(whole, trained(spec, tmp_path))


def test_a_checkpoint_of_other_versions_is_not_gone_on_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = factories.training_spec(epochs=2)
    with pytest.raises(Interrupted):
        trained(spec, tmp_path, 1)
    assert loaded(tmp_path, spec, {"code": "1"}) is not None
    with caplog.at_level(logging.WARNING):
        assert loaded(tmp_path, spec, {"code": "2"}) is None
    assert "the run starts from scratch: its checkpoint belongs to another code" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "one bit of a tensor",
        *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("empty", "garbage", "text", "without its best")),
    ],
)
def test_a_damaged_checkpoint_is_not_gone_on_from(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = factories.training_spec(epochs=2)
    with pytest.raises(Interrupted):
        trained(spec, tmp_path, 1)
    state, (best,) = tmp_path / f"{spec.id}.checkpoint", tmp_path.glob("*.best-*")
    content = state.read_bytes()
    match damage:
        case "truncated":
            state.write_bytes(content[: len(content) // 2])
        case "empty":
            state.write_bytes(b"")
        case "garbage":
            state.write_bytes(b"\x80\x04\x95" + content[3:])
        case "text":
            state.write_text("so that an unpickler pops from an empty stack")
        case "one bit of a tensor":
            changed = bytearray(content)
            changed[max(zipfile.ZipFile(state).infolist(), key=lambda part: part.file_size).header_offset + 1000] ^= 1
            state.write_bytes(changed)
            torch.load(state, weights_only=True)  # which PyTorch does not notice
        case _:
            best.unlink()
    assert loaded(tmp_path, spec, {"code": "1"}) is None
    assert "its checkpoint cannot be read" in caplog.text
    assert_the_same(trained(spec, None), trained(spec, tmp_path))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    spec = factories.training_spec(epochs=2)
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (witness,)

    torch.save({"identity": {}, "best_epoch": None, "progress": Evil()}, tmp_path / f"{spec.id}.checkpoint")
    assert loaded(tmp_path, spec, {}) is None
    assert not witness.exists()


def test_one_checkpoint_is_kept_and_none_after_it_is_removed(tmp_path: Path) -> None:
    spec, store = factories.training_spec(epochs=4), Store(tmp_path)
    trained(spec, store.checkpoints)
    kept = sorted(file.suffix.partition("-")[0] for file in store.checkpoints.iterdir())
    assert kept == [".best", ".checkpoint", ".lock"]
    (store.checkpoints / f".{spec.id}.checkpoint.abc.tmp").write_bytes(b"cut off")
    (store.checkpoints / "another.checkpoint").write_bytes(b"")
    store.remove_checkpoints(spec.id)
    assert [file.name for file in store.checkpoints.iterdir()] == ["another.checkpoint"]
    store.remove_checkpoints("another")
    assert not store.checkpoints.exists()
    store.remove_checkpoints("another")


def test_a_run_goes_on_where_checkpoints_cannot_be_written_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    spec = factories.training_spec(epochs=2)
    assert_the_same(trained(spec, None), trained(spec, blocked))
    assert "the run continues without this checkpoint" in caplog.text


def test_a_diverged_run_leaves_no_thread_behind(tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        trained(factories.training_spec(lr=1e30), tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_what_a_killed_command_left_of_done_runs_is_deleted_but_not_what_another_process_works_on(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    store.checkpoints.mkdir()
    for run_id in ("done", "again", "unfinished"):
        for name in (f"{run_id}.checkpoint", f"{run_id}.best-1", f".{run_id}.best-2.abc.tmp"):
            (store.checkpoints / name).touch()
    elsewhere = Claims(tmp_path)
    assert elsewhere.claim("again")
    remove_done_checkpoints(store, ["done", "again", "never started"])
    assert {path.name.removeprefix(".").partition(".")[0] for path in store.checkpoints.iterdir()} == {
        "again",
        "unfinished",
    }
    assert len(list(store.checkpoints.iterdir())) == 6
