"""Tiny runs, executed somewhere, and what must be equal wherever that was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.execution.events import Event
from benchmark.execution.executor import Executor, Take
from benchmark.execution.gpus import list_gpus
from benchmark.execution.local import local_workers
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.context import Outcome, RunContext
from tests.matrices import matrix


def tiny_runs(epochs: int = 2, **changes: Any) -> list[RunSpec]:
    """Return two runs on generated images, with another ``changes`` of the matrix."""
    tiny = {
        "datasets": [{"name": "shape-control", "limit": 32}],
        "input_modes": ["grey-1ch"],
        "seeds": [0, 1],
        "training": {"image_size": 32, "epochs": epochs, "early_stopping": None},
    }
    return expand(matrix(**{**tiny, **changes}))


def context(folder: Path, workers: int = 1) -> RunContext:
    """Return a context whose results are kept under a folder, checkpoints and weights included."""
    return RunContext(
        data_dir=None,
        weights_folder=folder / "weights",
        keep_weights="best",
        workers=workers,
        checkpoints=folder / "checkpoints",
        exhibits=folder / "exhibits",
    )


def run_locally(
    take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
) -> Generator[Outcome, None, None]:
    """Execute runs in worker processes that are started for them."""
    with local_workers(context.workers, list_gpus()) as execute:
        yield from execute(take, context, timeout, on_event)


def outcomes(
    executor: Executor,
    runs: Sequence[RunSpec],
    where: RunContext,
    timeout: float | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> dict[str, Outcome]:
    """Execute runs; each must come back once."""
    waiting = list(runs)
    with closing(executor(lambda: waiting.pop(0) if waiting else None, where, timeout, on_event)) as found:
        ended = list(found)
    assert sorted(outcome.record.id for outcome in ended) == sorted(run.id for run in runs)
    return {outcome.record.id: outcome for outcome in ended}


def decided(outcome: Outcome) -> dict[str, Any]:
    """Return a done run's record without times and machine, with its predictions and what it leaves for the report."""
    whole = dict.fromkeys(("started_at", "finished_at", "environment", "timing", "memory"), True)
    record = outcome.record.model_dump(exclude={**whole, "history": {"__all__": {"train_seconds"}}})
    table = outcome.predictions
    assert record["status"] == "done" and table is not None, (record["status"], record["reason"], record["log"])
    numbers = np.concatenate([table.label, table.predicted, table.probabilities.ravel()])
    return {**record, "predictions": (table.image_id, numbers.tobytes()), "shown": outcome.shown}


def kept_weights(where: RunContext) -> dict[str, bytes]:
    """Return the files of kept weights by name."""
    return {file.name: file.read_bytes() for file in where.weights_folder.iterdir()}
