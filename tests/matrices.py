"""Matrices, runs and records for the tests of the torch-free half."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import (
    DatasetRecord,
    DoneRun,
    Environment,
    EpochRecord,
    Memory,
    ModelRecord,
    PredictionTable,
    SplitMetrics,
    Timing,
)

SMALL: dict[str, Any] = {
    "name": "small",
    "models": ["timm/test_resnet"],
    "weights": "none",
    "datasets": ["beans"],
    "input_modes": ["rgb"],
    "policies": ["scratch"],
    "seeds": [0],
}
"""One run."""


def matrix(**changes: Any) -> Matrix:
    """Return the small matrix with other values."""
    return Matrix.model_validate({**SMALL, **changes})


def spec(**changes: Any) -> RunSpec:
    """Return the only run of the small matrix with other values."""
    (only,) = expand(matrix(**changes))
    return only


def done(run: RunSpec, **changes: Any) -> DoneRun:
    """Return a whole record of a run, without its predictions; ``changes`` replace fields as they are given."""
    epochs = tuple(
        EpochRecord(
            stage=1,
            epoch=epoch,
            lr=1e-3,
            train_loss=1 / epoch,
            val_loss=1.1 / epoch,
            val_accuracy=epoch / 4,
            test_accuracy=epoch / 5,
            train_seconds=0.25,
        )
        for epoch in (1, 2, 3)
    )
    scores = SplitMetrics(accuracy=0.75, macro_f1=0.7, log_loss=0.5)
    fields: dict[str, Any] = {
        "id": run.id,
        "status": "done",
        "spec": run,
        "started_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:05:05+00:00",
        "environment": Environment(
            python="3.11.7",
            packages={"torch": "2.14.1"},
            platform="Linux x86_64",
            cpu="a processor",
            device="cpu",
            precision="fp32",
            threads=1,
            workers=1,
            variables={},
            git_commit=None,
            git_dirty=None,
        ),
        "dataset": DatasetRecord(
            fingerprint="f" * 16, classes=("a", "b"), train_images=8, validation_images=4, test_images=5
        ),
        "model": ModelRecord(
            parameters=10, input_channels=3, mean=(0.5,), std=(0.5,), weights_sha256=None, weights_origin="x", stages=()
        ),
        "history": epochs,
        "best_epoch": 3,
        "validation": scores,
        "test": scores,
        "last_epoch_test_accuracy": 0.6,
        "article_accuracy": 0.6,
        "validation_saturated": False,
        "timing": Timing(
            data_seconds=0.1,
            model_seconds=0.1,
            train_seconds=0.75,
            eval_seconds=0.2,
            total_seconds=1.2,
            train_images_per_second=32.0,
            eval_images_per_second=60.0,
            contended=None,
        ),
        "memory": Memory(peak_rss_bytes=10**9, peak_device_bytes=None),
    }
    return DoneRun(**{**fields, **changes})


def predictions(rows: int = 5) -> PredictionTable:
    """Return predictions over two classes, each probability another number."""
    share = np.linspace(0.1, 0.9, rows, dtype=np.float32)
    label = np.arange(rows, dtype=np.int64) % 2
    ids = tuple(f"image-{row}.png" for row in range(rows))
    return PredictionTable(ids, label, (share < 0.5).astype(np.int64), np.stack([share, 1 - share], axis=1))
