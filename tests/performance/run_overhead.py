"""What a run costs beyond its training and evaluation, in a worker that lives on and with one process a run.

``python -m tests.performance.run_overhead [RUNS]`` executes tiny runs with one worker and prints seconds a run; goal:
at most 0.5 with the worker that lives on, its start included. The ratio is that to one process a run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmark.execution.gpus import list_gpus
from benchmark.execution.local import local_workers
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.store import Store
from benchmark.training.context import Outcome, RunContext
from tests.performance import common

ALONE = 5
"""Runs that get a process each: starting one takes seconds, always the same."""


def tiny(runs: int) -> list[RunSpec]:
    """Return runs of a tiny network on few generated images."""
    matrix = Matrix.model_validate(
        {
            "name": "tiny",
            "models": ["timm/test_resnet"],
            "weights": "none",
            "datasets": [{"name": "shape-control", "limit": 32}],
            "input_modes": ["grey-1ch"],
            "policies": ["scratch"],
            "seeds": list(range(runs)),
            "training": {"image_size": 32, "batch_size": 32, "epochs": 2, "head_epochs": 1, "early_stopping": None},
        }
    )
    return list(expand(matrix))


def executed(specs: Sequence[RunSpec], folder: Path) -> tuple[float, list[Outcome]]:
    """Execute runs in one worker and write their records; return the seconds and the outcomes."""
    store = Store(folder)
    left = iter(specs)
    context = RunContext(data_dir=None, weights_folder=folder / "weights", checkpoints=store.checkpoints)
    began = time.perf_counter()
    outcomes = []
    with local_workers(1, list_gpus()) as execute:
        for outcome in execute(lambda: next(left, None), context, None, lambda event: None):
            store.save(outcome.record, outcome.predictions, outcome.shown)
            outcomes.append(outcome)
    return time.perf_counter() - began, outcomes


def overhead(seconds: float, outcomes: Sequence[Outcome]) -> float:
    """Return the seconds a run that are neither training nor evaluation."""
    timings = [outcome.record.timing for outcome in outcomes]
    working = sum(t.train_seconds + t.eval_seconds + t.feature_seconds for t in timings if t is not None)
    return (seconds - working) / len(outcomes)


def main() -> None:
    """Measure and print both ways."""
    specs = tiny(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        executed(specs[:1], folder / "first")  # decodes the images
        together = executed(specs, folder / "together")
        alone = [executed([spec], folder / "alone") for spec in specs[:ALONE]]
    ours, separate = overhead(*together), sum(overhead(*each) for each in alone) / len(alone)
    common.conclude(
        f"seconds beyond training and evaluation, {len(specs)} tiny runs",
        ours / separate,
        "0.5 s a run",
        [
            {"ratio": ours / separate, "way": "a worker that lives on", "runs": len(specs), "s a run": ours},
            {"ratio": 1.0, "way": "one process a run", "runs": len(alone), "s a run": separate},
        ],
        seconds_a_run=round(ours, 3),
        seconds_a_run_with_a_process_each=round(separate, 3),
    )


if __name__ == "__main__":
    main()
