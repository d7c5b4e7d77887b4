"""A process of `benchmark.calibration`: takes runs as JSON, trains each for a moment on noise, answers their paces.

The runs go through `benchmark.runs.measure` as any other does, with random weights, one epoch a stage, and as
many images as fit into some seconds; features of a frozen backbone count as fixed seconds.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmark.datasets.prepared import PreparedDataset, Split
from benchmark.forecast import Pace, pace_of
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec
from benchmark.optimisation import DEFAULT_HEAD
from benchmark.run_context import RunContext
from benchmark.runs import measure

CLASSES = 2
LONG = 3.0
"""Seconds of a first measurement, one batch, from which it is not repeated with more images."""

BATCHES = 4


def noise(images: int, held_out: int, size: int, channels: int) -> PreparedDataset:
    """Return a dataset of noise.

    Args:
        images: in training.
        held_out: in validation, and as many in test.
        size: pixels a side.
        channels: 1 or 3.
    """
    total = images + 2 * held_out
    pixels = np.random.default_rng(0).integers(0, 256, (total, size, size, channels), dtype=np.uint8)

    def split(first: int, last: int) -> Split:
        rows = np.arange(first, last, dtype=np.int64)
        return Split(rows, rows % CLASSES, tuple(str(row) for row in rows))

    return PreparedDataset(
        images=pixels,
        classes=tuple(str(k) for k in range(CLASSES)),
        fingerprint="noise",
        train=split(0, images),
        validation=split(images, images + held_out),
        test=split(images + held_out, total),
        notes=(),
        test_groups={},
    )


def pace(spec: RunSpec, folder: Path) -> tuple[Pace, bool]:
    """Return the pace of a run's way of training on this machine, and whether it waited for a processor.

    Args:
        spec: the run; its images and weights are not needed.
        folder: for what the run leaves behind.
    """
    mode = "grey-1ch" if INPUT_MODES[spec.input_mode].channels == 1 else "grey-3ch"
    short = spec.model_copy(
        update={
            "input_mode": mode,
            "weights": "none",
            "head_init": DEFAULT_HEAD,
            "stages": tuple(stage.model_copy(update={"epochs": 1}) for stage in spec.stages),
        }
    )

    def once(batches: int) -> tuple[Pace, bool]:
        data = noise(batches * spec.batch_size, max(2, batches * spec.batch_size // 2), spec.image_size, 1)
        record = measure(short, RunContext(None, folder), lambda: data).record
        assert record.timing is not None, "a done run"
        return pace_of([record]), bool(record.timing.contended)

    first, contended = once(1)
    return (first, contended) if sum(first.train) * spec.batch_size > LONG else once(BATCHES)


def main() -> None:
    """Measure the runs given on the standard input."""
    specs = [RunSpec.model_validate(item) for item in json.load(sys.stdin)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCHMARK_CACHE_DIR"] = folder
        for spec in specs:
            try:
                found, contended = pace(spec, Path(folder))
                answer: dict[str, object] = {"pace": asdict(found), "contended": contended}
            except Exception as error:  # a network may raise anything; the other runs are still measured
                answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
