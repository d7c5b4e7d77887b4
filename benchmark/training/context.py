"""The environment and outcome of a run, for the processes that start runs; torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from benchmark.data.dataset import PreparedDataset
from benchmark.data.decoding.pool import Progress
from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.matrix.settings import KeepThumbnails
from benchmark.records.exhibits import Exhibit
from benchmark.records.record import PredictionTable, RunRecord


@dataclass(frozen=True)
class RunContext:
    """The environment of a run. Nothing in it affects the result.

    Attributes:
        data_dir: value of ``--data-dir``, or None for the default.
        weights_folder: folder for the weights kept by ``keep_weights``.
        checkpoints: folder for checkpoints, or None to neither write nor use any.
        keep_weights: ``none``, ``best`` or ``all`` (best and last epoch).
        workers: number of runs that share the machine.
        exhibits: folder of files for the report, or None to write none.
        keep_thumbnails: datasets whose thumbnails are kept, see `benchmark.records.exhibits`.
        preregistered: SHA-256 of the file of questions asked before the run, for the record.
    """

    data_dir: Path | None
    weights_folder: Path
    keep_weights: Literal["none", "best", "all"] = "none"
    workers: int = 1
    checkpoints: Path | None = None
    exhibits: Path | None = None
    keep_thumbnails: KeepThumbnails = "licensed"
    preregistered: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Result of `execute_run`; only done runs have predictions and files for the report."""

    record: RunRecord
    predictions: PredictionTable | None = None
    exhibits: tuple[Exhibit, ...] = ()


def now() -> str:
    """Return the current time in UTC, ISO 8601, in seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def load_run_images(spec: RunSpec, data_dir: Path | None, progress: Progress | None = None) -> PreparedDataset:
    """Return the decoded images of a run; missing images are downloaded and decoded first, once for all processes."""
    data = load_dataset(
        spec.source,
        split_seed=spec.split_seed,
        image_size=spec.image_size,
        grey=INPUT_MODES[spec.input_mode].grey,
        data_dir=data_dir,
        evaluation=spec.evaluation,
        seed=spec.seed if spec.fold is None else spec.fold,
        on_bad_image=spec.on_bad_image,
        on_leak=spec.on_leak,
        progress=progress,
    )
    if spec.trial is not None and (data.folds is None) != (spec.fold is None):
        raise UserError(f"{spec.source.name}: `folds` in the matrix does not fit its images: remove it.")
    return data
