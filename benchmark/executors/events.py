"""What workers tell while they work. Without torch: the process that passes events on stays small."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.records import EpochRecord


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


Event = Started | EpochDone
