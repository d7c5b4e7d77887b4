"""Cost of a run beyond its training and evaluation: its process, images, network, record.

``python -m tests.performance.run_overhead [RUNS]`` executes tiny runs one after the other and prints seconds per run;
goal: at most 0.6 where processes are forked from one that has imported the libraries. The ratio is that to ``spawn``,
where each process imports them itself (macOS).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmark.execution import forkserver
from benchmark.execution.gpus import list_gpus
from benchmark.execution.local import LocalExecutor
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.store import Store
from benchmark.training.context import Outcome, RunContext
from tests.commands import TINY
from tests.performance import common

SPAWNED = 5
"""Runs whose process is spawned: that takes seconds, always the same."""


def tiny(runs: int) -> list[RunSpec]:
    """Return runs of a tiny network on few generated images."""
    return list(expand(Matrix.model_validate({**TINY, "input_modes": ["grey-1ch"], "seeds": list(range(runs))})))


def executed(specs: Sequence[RunSpec], folder: Path, workers: int = 1) -> tuple[float, list[Outcome]]:
    """Execute runs, so many at a time, and write their records; return the seconds and the outcomes."""
    store = Store(folder)
    left = iter(specs)
    context = RunContext(data_dir=None, weights_folder=folder / "weights", checkpoints=store.checkpoints)
    began = time.perf_counter()
    outcomes = []
    for outcome in LocalExecutor(workers, list_gpus())(lambda: next(left, None), context, None, lambda event: None):
        store.save(outcome.record, outcome.predictions, outcome.exhibits)
        outcomes.append(outcome)
    return time.perf_counter() - began, outcomes


def overhead(seconds: float, outcomes: Sequence[Outcome]) -> float:
    """Return the seconds per run that are neither training nor evaluation."""
    timings = [outcome.record.timing for outcome in outcomes]
    working = sum(t.train_seconds + t.eval_seconds + t.feature_seconds for t in timings if t is not None)
    return (seconds - working) / len(outcomes)


def main() -> None:
    """Measure and print both ways."""
    specs = tiny(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executed(specs[:1], folder / "first")  # imports the libraries and decodes the images
        forked = overhead(*executed(specs, folder / "forked"))
        forkserver.are_shared = lambda: False
        spawned = overhead(*executed(specs[:SPAWNED], folder / "spawned"))
    common.conclude(
        f"seconds beyond training and evaluation, {len(specs)} tiny runs",
        forked / spawned,
        "0.6 s per run",
        [
            {"ratio": forked / spawned, "process": "forked", "runs": len(specs), "s per run": forked},
            {"ratio": 1.0, "process": "spawned", "runs": SPAWNED, "s per run": spawned},
        ],
        seconds_per_run=round(forked, 3),
        seconds_per_run_spawned=round(spawned, 3),
    )


if __name__ == "__main__":
    main()
