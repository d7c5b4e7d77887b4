"""Events of active runs."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import EpochRecord


@dataclass(frozen=True)
class Started:
    """A run started.

    Attributes:
        spec: the run.
        epochs: maximum number of epochs over all stages.
        at: start time in UTC, ISO 8601.
    """

    run_id: str
    spec: RunSpec
    epochs: int
    at: str


@dataclass(frozen=True)
class EpochDone:
    """A run finished an epoch."""

    run_id: str
    epoch: EpochRecord


@dataclass(frozen=True)
class Warned:
    """The benchmark logged a warning about a run, which continues."""

    run_id: str
    message: str


Event = Started | EpochDone | Warned
