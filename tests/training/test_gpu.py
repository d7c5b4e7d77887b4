"""What only a CUDA device can show. Left out where there is none; ``python -m pytest -m gpu`` runs these alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.matrix.augmentations import AUGMENTATIONS, parse
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import build
from benchmark.records.record import DoneRun
from benchmark.training import run as runs
from benchmark.training.batches import EpochBatches, Images, Normaliser, SplitImages
from benchmark.training.context import RunContext
from benchmark.training.devices import has_fast_bf16
from benchmark.training.prefetch import loader
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import StageTrainer
from tests import factories

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda", 0)


def on_the_gpu(run: RunSpec, *, resident: bool = True) -> tuple[build.BuiltModel, Images]:
    data = factories.dataset(channels=1 if INPUT_MODES[run.input_mode].grey else 3)
    built, _ = factories.network_and_images(run, data)
    built.network.to(device=GPU, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave memory_format out
    normaliser = Normaliser(built.mean, built.std, GPU)
    splits = (data.train, data.validation, data.test)
    return built, Images(*(SplitImages(data.images, split, normaliser, GPU, resident=resident) for split in splits))


def trained(run: RunSpec, precision: str, *, resident: bool = True) -> TrainedNetwork:
    torch.backends.cudnn.deterministic = True
    built, images = on_the_gpu(run, resident=resident)
    return train(built.network, run, images, precision)


def record_of(run: RunSpec, folder: Path) -> DoneRun:
    context = RunContext(data_dir=None, weights_folder=folder / "weights", checkpoints=folder / "checkpoints")
    record = runs.train_and_score(run, context, factories.dataset).record
    assert isinstance(record, DoneRun)
    return record


@pytest.mark.parametrize("augment", ["[hflip]", "[hflip, rotation, noise]"])
def test_images_streamed_to_the_gpu_give_the_batches_of_images_kept_there(augment: str) -> None:
    run = factories.training_spec(augment=augment)
    shown, batches = [], EpochBatches(40, 8, seed=0)
    for resident in (True, False):
        _, images = on_the_gpu(run, resident=resident)
        images.train.augment(run.augment, seed=0, epoch=1)
        shown.append([(x.cpu(), y.cpu()) for x, y in loader(images.train, batches)])
    for (x, y), (other_x, other_y) in zip(*shown, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"noise"}))
def test_an_augmentation_on_the_gpu_is_within_one_grey_level_of_the_cpus(name: str) -> None:
    data = factories.dataset(channels=3)
    shown = []
    for device in (torch.device("cpu"), GPU):
        images = SplitImages(data.images, data.train, Normaliser((0.0,) * 3, (1.0,) * 3, device), device)
        images.augment([parse(name)], seed=0, epoch=1)
        shown.append(images.__getitems__(list(range(40)))[0].cpu() * 255)
    assert float(((shown[0] - shown[1]).abs() > 1.01).float().mean()) < 1e-3


@pytest.mark.parametrize("policy", ["finetune", "scratch"])
def test_two_runs_on_the_gpu_give_identical_weights_bit_for_bit(policy: str) -> None:
    first, second = (trained(factories.training_spec(policy=policy), "fp32") for _ in range(2))
    assert all(torch.equal(first.last_state[name], second.last_state[name]) for name in first.last_state)


def test_a_run_on_the_gpu_follows_the_cpus() -> None:
    run = factories.training_spec(epochs=2)
    built, images = factories.network_and_images(run, factories.dataset())
    on_the_cpu = train(built.network, run, images, "fp32")
    losses = [[epoch.train_loss for epoch in each.run_state.history[1:]] for each in (on_the_cpu, trained(run, "fp32"))]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_training_step_waits_for_the_gpu(precision: str, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if precision == "bf16" and not has_fast_bf16(GPU):
        precision = "fp32"
    start, end = StageTrainer.train_epoch_start, StageTrainer.train_epoch_end
    epochs: list[int] = []

    def starts(self: StageTrainer) -> None:
        start(self)
        torch.cuda.set_sync_debug_mode("error")

    def ends(self: StageTrainer) -> None:
        torch.cuda.set_sync_debug_mode("default")
        epochs.append(1)
        end(self)

    monkeypatch.setattr(StageTrainer, "train_epoch_start", starts)
    monkeypatch.setattr(StageTrainer, "train_epoch_end", ends)
    try:
        trained(factories.training_spec(epochs=2), precision, resident=resident)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(epochs) == 2


@pytest.mark.parametrize("precision", ["fp16", "auto"])
def test_a_run_in_half_precision_learns_and_is_recorded(precision: str, tmp_path: Path) -> None:
    record = record_of(factories.training_spec(epochs=6, precision=precision), tmp_path)
    assert record.status == "done"
    assert record.environment is not None
    assert record.memory is not None
    expected = "fp16" if precision == "fp16" or not has_fast_bf16(GPU) else "bf16"
    assert record.environment.precision == expected
    assert record.environment.device == torch.cuda.get_device_name()
    _, first, *_, last = (epoch.train_loss or math.inf for epoch in record.history)
    assert last < first
    assert record.memory.peak_device_bytes is not None
    assert record.memory.peak_device_bytes > 0


def test_a_half_precision_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    run = factories.training_spec(epochs=3, precision="fp16")
    whole: Any = record_of(run, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise Interrupted

    context = RunContext(None, tmp_path / "weights", checkpoints=tmp_path / "checkpoints")
    with pytest.raises(Interrupted):
        runs.train_and_score(run, context, factories.dataset, stop)
    resumed: Any = runs.train_and_score(run, context, factories.dataset).record
    assert resumed.timing.resumed_after == (2,)
    assert [epoch.train_loss for epoch in resumed.history] == [epoch.train_loss for epoch in whole.history]
    assert resumed.test == whole.test
