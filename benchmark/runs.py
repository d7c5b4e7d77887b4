"""One run: a RunSpec in, a record and its predictions out."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import traceback
from collections.abc import Callable
from typing import Literal, cast

import torch
from safetensors.torch import save
from torch import Tensor

from benchmark import PROTOCOL_VERSION, environment, exhibits, models
from benchmark.batches import Images, Normaliser, SplitImages
from benchmark.checkpoints import Checkpoints
from benchmark.datasets.locations import cache_directory
from benchmark.datasets.prepared import PreparedDataset
from benchmark.errors import UserError, did_you_mean
from benchmark.exhibits import Exhibit
from benchmark.files import write_atomically
from benchmark.heads import HeadInit
from benchmark.inputs import INPUT_MODES
from benchmark.isolation import start_afresh
from benchmark.matrix import RunSpec
from benchmark.memory_errors import is_out_of_memory, out_of_memory
from benchmark.metrics import score
from benchmark.placement import kept_on
from benchmark.precision import check_precision, has_fast_bf16
from benchmark.progress import Progress
from benchmark.records import (
    DatasetRecord,
    Environment,
    EpochRecord,
    ExhibitFiles,
    Memory,
    ModelRecord,
    PredictionTable,
    RunRecord,
    Status,
    Timing,
)
from benchmark.run_context import Outcome, RunContext, now, open_images
from benchmark.training import Diverged, Support, Trained, train

Precision = Literal["fp32", "fp16", "bf16"]

SATURATED_EPOCHS = 3
"""Epochs with a validation accuracy of 1.0 from which a record says that validation saturated."""


def choose_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """Return what ``precision`` means on a device: ``auto`` is bf16 or fp16 on a GPU, as it can, and fp32 on a CPU."""
    if asked != "auto":
        return cast(Precision, asked)
    if device.type == "cpu":
        return "fp32"
    return "bf16" if has_fast_bf16(device) else "fp16"


def execute(spec: RunSpec, context: RunContext, on_epoch: Callable[[EpochRecord], None] = lambda _: None) -> Outcome:
    """Execute one run. Whatever goes wrong inside it comes back as a record, never as an exception.

    Args:
        spec: the run.
        context: data, weights folder, workers.
        on_epoch: called after each epoch.
    """
    started_at = now()

    def not_done(status: Status, error: BaseException, reason: str = "") -> Outcome:
        reason = reason or f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        return Outcome(
            RunRecord(
                id=spec.id,
                status=status,
                reason=reason,
                traceback=trace,
                spec=spec,
                started_at=started_at,
                finished_at=now(),
                environment=_environment(spec, context),
            )
        )

    try:
        return measure(spec, context, lambda: open_images(spec, context.data_dir), on_epoch)
    except Diverged as error:
        return not_done("diverged", error)
    except Exception as error:
        if is_out_of_memory(error):
            return not_done("oom", error, out_of_memory(error, spec.batch_size))
        return not_done("failed", error)


def measure(
    spec: RunSpec,
    context: RunContext,
    open_data: Callable[[], PreparedDataset],
    on_epoch: Callable[[EpochRecord], None] = lambda _: None,
) -> Outcome:
    """Train and score one run on given images.

    Args:
        spec: the run.
        context: weights folder, workers.
        open_data: gives the decoded images.
        on_epoch: called after each epoch.

    Raises:
        Diverged: a loss is not finite.
        UserError: a model, weights or dataset that cannot be had, or a precision that is none for this device.
    """
    started_at = now()
    started = time.perf_counter()
    start_afresh(spec.threads)
    environment.reset_peak_rss()
    device = choose_device()
    check_precision(spec.precision, device)
    precision = resolve_precision(spec.precision, device)
    mode = INPUT_MODES[spec.input_mode]

    data = open_data()
    data_ready = time.perf_counter()
    built = models.build(
        spec.model,
        mode,
        classes=len(data.classes),
        source=spec.weights,
        seed=spec.seed,
        head_init=head_init(spec, data.classes),
        image_size=spec.input_size,
    )
    built.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave memory_format out
    model_ready = time.perf_counter()

    normaliser = Normaliser(built.mean, built.std, device)
    splits = (data.train, data.validation, data.test)
    resident = kept_on(device, sum(map(len, splits)) * data.images[0].nbytes)
    images = Images(
        *(SplitImages(data.images, split, normaliser, device, spec.crop_size, resident=resident) for split in splits)
    )
    about = _about_images(spec, data, built, device)
    kept = None
    if context.checkpoints is not None:
        kept = Checkpoints(context.checkpoints, spec.id, _identity(spec, about, built))
    support = Support(on_epoch, kept, cache_directory() / "features", about)
    trained = train(built.network, spec, images, precision, support)
    if context.keep_weights != "none":
        _keep_weights(spec, context, trained)

    shown = _exhibits(spec, context, data)

    progress = trained.progress
    total = model_ready - started + progress.seconds()
    saturated = sum(epoch.val_accuracy == 1.0 for epoch in progress.history) >= SATURATED_EPOCHS
    test_labels = images.test.labels.cpu()
    record = RunRecord(
        id=spec.id,
        status="done",
        spec=spec,
        started_at=started_at,
        finished_at=now(),
        environment=_environment(spec, context),
        dataset=_dataset_record(data),
        model=ModelRecord(
            parameters=sum(parameter.numel() for parameter in built.network.parameters()),
            input_channels=built.input_channels,
            mean=built.mean,
            std=built.std,
            pretrained_mean=built.pretrained_mean,
            pretrained_std=built.pretrained_std,
            weights_sha256=built.weights_sha256,
            weights_origin=built.weights_origin,
            stages=tuple(progress.stages),
        ),
        history=tuple(progress.history),
        best_epoch=trained.best.epoch,
        validation=score(trained.best.validation_logits, images.validation.labels.cpu()),
        test=score(trained.best.test_logits, test_labels),
        last_epoch_test_accuracy=progress.history[-1].test_accuracy,
        article_accuracy=max(epoch.test_accuracy for epoch in progress.history),
        validation_saturated=saturated,
        timing=Timing(
            data_seconds=data_ready - started,
            model_seconds=model_ready - data_ready,
            train_seconds=progress.train_seconds,
            feature_seconds=progress.feature_seconds,
            eval_seconds=progress.eval_seconds,
            total_seconds=total,
            train_images_per_second=_training_rate(progress),
            eval_images_per_second=progress.images_evaluated / progress.eval_seconds,
            contended=progress.stopwatch.contended(on_cpu=device.type == "cpu"),
            resumed_after=tuple(progress.resumed_after),
        ),
        memory=Memory(
            peak_rss_bytes=environment.peak_rss_bytes(),
            peak_device_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        ),
        exhibits=ExhibitFiles(thumbnails=shown[0].name if shown else None),
    )
    predictions = PredictionTable(
        image_id=data.test.image_ids,
        label=test_labels.numpy(),
        predicted=trained.best.test_logits.argmax(dim=1).numpy(),
        probabilities=trained.best.test_logits.double().softmax(dim=1).float().numpy(),
    )
    return Outcome(record, predictions, shown)


def _exhibits(spec: RunSpec, context: RunContext, data: PreparedDataset) -> tuple[Exhibit, ...]:
    """Return the thumbnails for the report, or nothing if none are kept of this dataset."""
    if context.exhibits is None or not exhibits.keeps_thumbnails(spec.source, context.keep_thumbnails):
        return ()
    return (exhibits.thumbnails(spec, data, INPUT_MODES[spec.input_mode].grey, context.exhibits),)


def head_init(spec: RunSpec, classes: tuple[str, ...]) -> HeadInit:
    """Return what the head starts from; random weights, which have no source rows, start as ``default``.

    Raises:
        UserError: a row is named for a class that the dataset does not have.
    """
    if spec.head_init.name != "source-rows":
        return spec.head_init.name
    rows = spec.head_init.rows or {}
    for name in rows:
        if name not in classes:
            raise UserError(f"training.head_init: {spec.dataset} has no class {name!r}.{did_you_mean(name, classes)}")
    return "default" if spec.weights == "none" else [rows.get(name) for name in classes]


def _training_rate(progress: Progress) -> float:
    if progress.whole_network_images:
        return progress.whole_network_images / progress.whole_network_seconds
    return progress.images_trained / progress.train_seconds


def _about_images(
    spec: RunSpec, data: PreparedDataset, built: models.BuiltModel, device: torch.device
) -> dict[str, object]:
    """Return what decides the tensors that the network is shown, as JSON values."""
    rows = hashlib.sha256()
    for split in (data.train, data.validation, data.test):
        rows.update(f"{len(split)} ".encode() + split.rows.tobytes())
    return {
        "fingerprint": data.fingerprint,
        "rows": rows.hexdigest(),
        "stored": list(data.images.shape),
        "crop": spec.crop_size,
        "mean": list(built.mean),
        "std": list(built.std),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def _identity(spec: RunSpec, about: dict[str, object], built: models.BuiltModel) -> dict[str, str]:
    """Return what a checkpoint must share with a run that goes on from it, for the same end to the last bit."""
    commit, dirty = environment.git_revision()
    return {
        "run": spec.id,
        "protocol": str(PROTOCOL_VERSION),
        "libraries": json.dumps(environment.package_versions(), sort_keys=True),
        "source revision": f"{commit} {dirty}",
        "processor": f"{environment.cpu_name()} {torch.backends.cpu.get_cpu_capability()}",
        "images": json.dumps(about, sort_keys=True),
        "weights": str(built.weights_sha256),
    }


def _dataset_record(data: PreparedDataset) -> DatasetRecord:
    return DatasetRecord(
        fingerprint=data.fingerprint,
        classes=data.classes,
        train_images=len(data.train),
        validation_images=len(data.validation),
        test_images=len(data.test),
        notes=data.notes,
        folds=data.folds,
    )


def _environment(spec: RunSpec, context: RunContext) -> Environment:
    device = choose_device()
    commit, dirty = environment.git_revision()
    return Environment(
        python=environment.python_version(),
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
    )


def _keep_weights(spec: RunSpec, context: RunContext, trained: Trained) -> None:
    def write(name: str, state: dict[str, Tensor]) -> None:
        tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
        write_atomically(context.weights_folder / name, save(tensors))

    write(f"{spec.id}.safetensors", trained.best.state)
    if context.keep_weights == "all":
        write(f"{spec.id}.last.safetensors", trained.last_state)
