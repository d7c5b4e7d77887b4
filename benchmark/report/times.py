"""What a cell's runs took, from those that had their processors to themselves.

A run that waited for a processor (its record says ``contended``) tells how busy the machine was. Where every run of a
cell waited, the means are bounds only: the seconds are at most those, the images per second at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmark.analysis.results import Cell

Field = Literal["train_seconds", "train_images_per_second", "eval_images_per_second"]
"""Of `benchmark.records.Timing`."""


@dataclass(frozen=True)
class MeanTime:
    """A mean over a cell's runs."""

    value: float
    """Seconds, or images per second."""
    bound: bool
    """Every run waited for a processor: in truth fewer seconds, more images per second."""


def mean_time(cell: Cell, field: Field) -> MeanTime | None:
    """Return the mean of a time over the done runs that did not wait for a processor, over all where each did.

    Runs in which waiting could not be measured count as undisturbed; the report tells their number. None without a
    done run, and where a done run has no times.
    """
    timings = [record.timing for record in cell.records.values()]
    known = [timing for timing in timings if timing is not None]
    if not known or len(known) < len(timings):
        return None
    quiet = [timing for timing in known if timing.contended is not True]
    values = [float(getattr(timing, field)) for timing in quiet or known]
    return MeanTime(math.fsum(values) / len(values), bound=not quiet)
