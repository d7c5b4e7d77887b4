"""Measurement of this machine's pace by a short training, from which the time of runs is forecast."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmark.errors import UserError
from benchmark.execution.forecast import Pace
from benchmark.execution.local import LocalExecutor
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DoneRun
from benchmark.training.context import RunContext

IMAGES = 256
"""Maximum number of training images of the measurement: eight usual batches, which take seconds per epoch at 96 px."""


def measure_pace(specs: Sequence[RunSpec], data_dir: Path | None) -> Pace:
    """Return the pace of runs executed concurrently on this machine's CPU; their results are discarded.

    Each run is shortened to two epochs of its last stage, the first of which is slower, with at most `IMAGES` images.

    Args:
        specs: runs that train a whole network, with different ids.
        data_dir: value of ``--data-dir``.

    Raises:
        UserError: one of the runs failed.
    """
    waiting = [_shorten(spec) for spec in specs]
    context = RunContext(data_dir=data_dir, weights_folder=Path(), workers=len(waiting))  # keeps no weights
    executor = LocalExecutor(len(waiting), ())
    done: list[DoneRun] = []
    with closing(executor(lambda: waiting.pop() if waiting else None, context, None, lambda _: None)) as outcomes:
        for outcome in outcomes:
            if not isinstance(outcome.record, DoneRun):
                raise UserError(f"a short training of {_in_words(outcome.record.spec)} failed: {outcome.record.reason}")
            done.append(outcome.record)
    return Pace.of(done)


def _in_words(spec: RunSpec) -> str:
    return f"{spec} ({spec.model}, {spec.image_size} px)"


def _shorten(spec: RunSpec) -> RunSpec:
    stage = spec.stages[-1].model_copy(update={"epochs": 2})
    source = spec.source.model_copy(update={"limit": IMAGES})
    return spec.model_copy(update={"stages": (stage,), "source": source})
