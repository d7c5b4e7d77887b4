"""Mean times of a cell's runs, and whether they are bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmark.analysis.results import Cell

Field = Literal["train_seconds", "train_images_per_second", "eval_images_per_second"]
"""Field of `benchmark.records.Timing`."""


@dataclass(frozen=True)
class MeanTime:
    """A mean over a cell's runs.

    Attributes:
        value: seconds, or images per second.
        bound: whether every run was contended, so that the seconds are at most these, the images per second at least.
    """

    value: float
    bound: bool


def mean_time(cell: Cell, field: Field) -> MeanTime | None:
    """Return the mean of a time over the done runs that were not contended, or over all if each was.

    Runs whose waiting could not be measured count as undisturbed. None if no run is done.
    """
    timings = [record.timing for record in cell.records.values()]
    if not timings:
        return None
    quiet = [timing for timing in timings if timing.contended is not True]
    values = [float(getattr(timing, field)) for timing in quiet or timings]
    return MeanTime(math.fsum(values) / len(values), bound=not quiet)
