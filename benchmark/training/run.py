"""Execution of one run, from its RunSpec to its record and predictions."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from benchmark import environment
from benchmark.data.dataset import PreparedDataset, Split
from benchmark.errors import UserError, did_you_mean
from benchmark.files import write_atomically
from benchmark.locations import cache_directory
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import build
from benchmark.networks.heads import HeadInit
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records import exhibits
from benchmark.records.exhibits import Exhibit
from benchmark.records.record import (
    DatasetRecord,
    DoneRun,
    Environment,
    EpochRecord,
    ExhibitFiles,
    Failure,
    Memory,
    ModelRecord,
    PredictionTable,
    Timing,
    TunedRun,
    UnfinishedRun,
)
from benchmark.training.batches import Derive, Images, Normaliser, SplitImages, derive_of
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.context import Outcome, RunContext, load_run_images, now
from benchmark.training.devices import check_precision, choose_device, keeps_images, resolve_precision
from benchmark.training.isolation import make_deterministic
from benchmark.training.metrics import accuracy, score
from benchmark.training.out_of_memory import is_out_of_memory, memory_in_use
from benchmark.training.progress import RunState
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import Diverged, Support

SATURATED_EPOCHS = 3
"""Number of epochs with validation accuracy 1.0 from which validation counts as saturated."""


def execute_run(
    spec: RunSpec, context: RunContext, on_epoch: Callable[[EpochRecord], None] = lambda _: None
) -> Outcome:
    """Execute one run; for ``on_epoch`` see `Support`. Errors are returned as a record, never raised."""
    started_at = now()
    try:
        return train_and_score(spec, context, lambda: load_run_images(spec, context.data_dir), on_epoch)
    except Exception as error:
        status: Failure = "diverged" if isinstance(error, Diverged) else "failed"
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if is_out_of_memory(error):
            status, reason = "oom", f"out of memory at batch size {spec.batch_size} ({memory_in_use()}): {reason}"
        record = UnfinishedRun(
            id=spec.id,
            status=status,
            reason=reason,
            traceback="".join(traceback.format_exception(error)),
            spec=spec,
            started_at=started_at,
            finished_at=now(),
            environment=_environment(spec, context),
        )
    return Outcome(record)


def train_and_score(
    spec: RunSpec,
    context: RunContext,
    load_images: Callable[[], PreparedDataset],
    on_epoch: Callable[[EpochRecord], None] = lambda _: None,
) -> Outcome:
    """Train and score one run on the images that ``load_images`` returns; for ``on_epoch`` see `Support`.

    A tuning run is scored only on the validation split. It gets no test images and produces only its record.

    Raises:
        Diverged: a loss is not finite.
        UserError: model, weights or dataset cannot be obtained, or the device does not support the precision.
    """
    if not spec.sees_test:
        context = replace(context, keep_weights="none", exhibits=None)
    started_at = now()
    started = time.perf_counter()
    make_deterministic(spec.threads)
    device = choose_device()
    check_precision(spec.precision, device)
    precision = resolve_precision(spec.precision, device)

    data = load_images()
    data_ready = time.perf_counter()
    built = build_network(spec, data.classes)
    built.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave memory_format out
    model_ready = time.perf_counter()

    normaliser = Normaliser(built.mean, built.std, device)
    sizes = [len(split) for split in (data.train, data.validation, data.test)]
    derive = derive_of(spec)
    resident = keeps_images(device, sum(sizes) * data.images[0].nbytes * (1 if derive is None else 3))

    def on_device(split: Split) -> SplitImages:
        return SplitImages(data.images, split, normaliser, device, spec.crop_size, derive=derive, resident=resident)

    test = on_device(data.test) if spec.sees_test else None
    images = Images(on_device(data.train), on_device(data.validation), test, is_fold=data.folds is not None)
    about = _about_images(spec, data, built, derive, device)
    kept = None
    if context.checkpoints is not None:
        kept = Checkpoints(context.checkpoints, spec.id, checkpoint_key(spec, about, built))
    support = Support(on_epoch, kept, cache_directory() / "features", about)
    trained = train(built.network, spec, images, precision, support)
    _keep_weights(spec, context, trained)
    thumbnails: tuple[Exhibit, ...] = ()
    if context.exhibits is not None and exhibits.keeps_thumbnails(spec.source, context.keep_thumbnails):
        thumbnails = (exhibits.thumbnails(spec, data, INPUT_MODES[spec.input_mode].grey, context.exhibits),)
    timing = _timing(trained.run_state, data_ready - started, model_ready - data_ready, on_cpu=device.type == "cpu")
    common = _common_fields(spec, context, started_at, data, built, trained, timing)
    if not spec.sees_test:
        return Outcome(TunedRun(**common))
    test_labels = torch.tensor(data.test.labels)
    record = DoneRun(
        **common,
        test=score(trained.test_logits, test_labels),
        last_epoch_test_accuracy=accuracy(trained.last_test_logits, test_labels),
        exhibits=ExhibitFiles(thumbnails=thumbnails[0].name if thumbnails else None),
    )
    predictions = PredictionTable(
        image_id=data.test.image_ids,
        label=data.test.labels,
        predicted=trained.test_logits.argmax(dim=1).numpy(),
        probabilities=trained.test_logits.double().softmax(dim=1).float().numpy(),
    )
    return Outcome(record, predictions, thumbnails)


def _common_fields(
    spec: RunSpec,
    context: RunContext,
    started_at: str,
    data: PreparedDataset,
    built: build.BuiltModel,
    trained: TrainedNetwork,
    timing: Timing,
) -> dict[str, Any]:
    """Return the fields of `FinishedRun`."""
    history = trained.run_state.history
    perfect = sum(epoch.val_accuracy == 1.0 for epoch in history[1:])
    return {
        "id": spec.id,
        "spec": spec,
        "started_at": started_at,
        "finished_at": now(),
        "environment": _environment(spec, context),
        "dataset": DatasetRecord(
            fingerprint=data.fingerprint,
            classes=data.classes,
            train_images=len(data.train),
            validation_images=len(data.validation),
            test_images=len(data.test),
            notes=data.notes,
            folds=data.folds,
        ),
        "model": ModelRecord(
            parameters=sum(parameter.numel() for parameter in built.network.parameters()),
            input_channels=built.input_channels,
            mean=built.mean,
            std=built.std,
            pretrained_mean=built.pretrained_mean,
            pretrained_std=built.pretrained_std,
            weights_sha256=built.weights_sha256,
            weights_origin=built.weights_origin,
            stages=tuple(trained.run_state.stages),
        ),
        "history": tuple(history),
        "best_epoch": trained.best.epoch,
        "validation": score(trained.validation_logits, torch.tensor(data.validation.labels)),
        "validation_saturated": perfect >= SATURATED_EPOCHS,
        "timing": timing,
        "memory": Memory(
            peak_rss_bytes=environment.peak_rss_bytes(),
            peak_device_bytes=torch.cuda.max_memory_allocated() if choose_device().type == "cuda" else None,
        ),
    }


def _timing(state: RunState, data_seconds: float, model_seconds: float, *, on_cpu: bool) -> Timing:
    images, seconds = state.images_trained, state.train_seconds
    if state.whole_network_images:
        images, seconds = state.whole_network_images, state.whole_network_seconds
    return Timing(
        data_seconds=data_seconds,
        model_seconds=model_seconds,
        train_seconds=state.train_seconds,
        feature_seconds=state.feature_seconds,
        eval_seconds=state.eval_seconds,
        total_seconds=data_seconds + model_seconds + state.seconds(),
        train_images_per_second=images / seconds,
        eval_images_per_second=state.images_evaluated / state.eval_seconds,
        contended=state.stopwatch.contended(on_cpu=on_cpu),
        resumed_after=tuple(state.resumed_after),
    )


def build_network(spec: RunSpec, classes: tuple[str, ...]) -> build.BuiltModel:
    """Build the network of a run on images of these classes, on the CPU."""
    return build.build(
        spec.model,
        INPUT_MODES[spec.input_mode],
        classes=len(classes),
        source=spec.weights,
        seed=spec.seed,
        backbone=spec.backbone,
        head_init=head_init(spec, classes),
        image_size=spec.input_size,
    )


def head_init(spec: RunSpec, classes: tuple[str, ...]) -> HeadInit:
    """Return the head's initialisation. Rows become ``default`` for random weights and for half of a network.

    Raises:
        UserError: a row is given for a class that is not in the dataset.
    """
    if spec.head_init.name != "source-rows":
        return "xavier" if spec.head_init.name == "xavier" else "default"
    rows = {name: int(spec.head_init[name]) for name, _ in spec.head_init.parameters}
    for name in rows:
        if name not in classes:
            raise UserError(f"training.head_init: {spec.dataset} has no class {name!r}.{did_you_mean(name, classes)}")
    if spec.weights == "none" or spec.backbone == "first-half":
        return "default"
    return [rows.get(name) for name in classes]


def _about_images(
    spec: RunSpec, data: PreparedDataset, built: build.BuiltModel, derive: Derive | None, device: torch.device
) -> dict[str, object]:
    """Return everything that decides the network's inputs, as JSON values."""
    rows = hashlib.sha256()
    for split in (data.train, data.validation, data.test):
        rows.update(f"{len(split)} ".encode() + split.rows.tobytes())
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    return {
        "fingerprint": data.fingerprint,
        "rows": rows.hexdigest(),
        "stored": list(data.images.shape),
        "crop": spec.crop_size,
        "derived": derive and hashlib.sha256(derive(ramp).tobytes()).hexdigest(),
        "mean": list(built.mean),
        "std": list(built.std),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def checkpoint_key(spec: RunSpec, about: dict[str, object], built: build.BuiltModel) -> dict[str, str]:
    """Return everything that must match a checkpoint for a run to resume from it with the same bits."""
    commit, dirty = environment.git_revision()
    return {
        "run": spec.id,
        "protocol": str(PROTOCOL_VERSION),
        "libraries": json.dumps(environment.package_versions(), sort_keys=True),
        "source revision": f"{commit} {dirty}",
        "processor": f"{environment.cpu_name()} {torch.backends.cpu.get_cpu_capability()}",
        "instructions": json.dumps(environment.chosen_instructions(), sort_keys=True),
        "images": json.dumps(about, sort_keys=True),
        "weights": str(built.weights_sha256),
    }


def _environment(spec: RunSpec, context: RunContext) -> Environment:
    device = choose_device()
    commit, dirty = environment.git_revision()
    return Environment(
        python=platform.python_version(),
        packages=environment.package_versions(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=environment.cpu_name(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        precision=resolve_precision(spec.precision, device),
        threads=spec.threads,
        workers=context.workers,
        variables=environment.variables_in_force(),
        git_commit=commit,
        git_dirty=dirty,
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        preregistered=context.preregistered,
    )


def _keep_weights(spec: RunSpec, context: RunContext, trained: TrainedNetwork) -> None:
    kept: dict[str, dict[str, Tensor]] = {}
    if context.keep_weights != "none":
        kept[f"{spec.id}.safetensors"] = trained.best.state
    if context.keep_weights == "all":
        kept[f"{spec.id}.last.safetensors"] = trained.last_state
    for name, state in kept.items():
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
        reading = {"reading": json.dumps(spec.source.reading._asdict())}
        write_atomically(context.weights_folder / name, save(tensors, reading))
