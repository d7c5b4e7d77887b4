"""Runs per hour with so many runs at a time on one GPU, or on the processors if there is none. A child process.

A run's start, its network, training, evaluation and record are in the time, the command around it is not. Prints one
JSON line per number as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmark.matrix.expand import expand
from benchmark.records.record import UnfinishedRun
from tests import factories
from tests.performance.run_overhead import executed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--packed", type=int, nargs="+", required=True, help="numbers of runs at a time")
    options = parser.parse_args()
    matrix = factories.matrix(
        models=[options.model],
        datasets=["shape-control"],
        seeds=list(range(2 * max(options.packed) + 2)),
        training={"image_size": options.size, "epochs": options.epochs, "early_stopping": None},
    )
    specs = expand(matrix)
    with tempfile.TemporaryDirectory() as folder:
        executed(specs[:1], Path(folder) / "first")  # imports the libraries and decodes the images
        for at_a_time in options.packed:
            runs = specs[: max(4, 2 * at_a_time)]
            seconds, outcomes = executed(runs, Path(folder) / str(at_a_time), at_a_time)
            for outcome in outcomes:
                if isinstance(outcome.record, UnfinishedRun):
                    raise SystemExit(f"{outcome.record.status}: {outcome.record.reason}")
            print(json.dumps({"at_a_time": at_a_time, "runs": len(runs), "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
