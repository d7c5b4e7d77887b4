"""What workers tell while they work. Without torch: the process that passes events on stays small."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.records.record import EpochRecord


@dataclass(frozen=True)
class Started:
    """A worker took a run."""

    run_id: str
    title: str
    epochs: int
    """At most, all stages together."""
    at: str


@dataclass(frozen=True)
class EpochDone:
    """A run finished an epoch."""

    run_id: str
    epoch: EpochRecord


@dataclass(frozen=True)
class Warned:
    """The benchmark's own log has a warning about a run that goes on."""

    run_id: str
    message: str


Event = Started | EpochDone | Warned
