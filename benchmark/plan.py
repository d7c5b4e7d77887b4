"""A matrix compared with the store: what is done, failed, stale, pending. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmark import PROTOCOL_VERSION
from benchmark.matrix import RunSpec
from benchmark.records import RunRecord
from benchmark.store import DamagedRecord, Store

State = Literal["done", "failed", "diverged", "timeout", "oom", "killed", "stale", "damaged", "pending"]
STATES: tuple[State, ...] = (
    "done",
    "failed",
    "diverged",
    "timeout",
    "oom",
    "killed",
    "stale",
    "damaged",
    "pending",
)


@dataclass(frozen=True)
class PlannedRun:
    """A run of the matrix and what the store holds of it."""

    spec: RunSpec
    state: State
    record: RunRecord | None
    """The record; None when pending or damaged."""


@dataclass(frozen=True)
class Plan:
    """Every run of a matrix with its state."""

    runs: tuple[PlannedRun, ...]
    damaged: tuple[DamagedRecord, ...]
    """Files among the records that cannot be read, of this matrix or not."""
    foreign: tuple[str, ...]
    """Ids of records that belong to no run of the matrix."""

    @property
    def done(self) -> tuple[RunRecord, ...]:
        """Records of the done runs, in the matrix's order."""
        return tuple(run.record for run in self.runs if run.state == "done" and run.record is not None)

    @property
    def todo(self) -> tuple[RunSpec, ...]:
        """Specs of the runs that are not done."""
        return tuple(run.spec for run in self.runs if run.state != "done")

    def counts(self) -> dict[State, int]:
        """Return the number of runs in each state, states without runs left out."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES if counted[state]}


def make_plan(specs: Iterable[RunSpec], store: Store) -> Plan:
    """Compare runs with the records on disk.

    A record made under another PROTOCOL_VERSION is stale, whatever it says, and so is a done record whose dataset
    fingerprint differs from that of the newest done record of the same dataset: they cannot stand in one table.
    """
    specs = list(specs)
    records: dict[str, RunRecord] = {}
    damaged: list[DamagedRecord] = []
    for item in store.scan():
        if isinstance(item, DamagedRecord):
            damaged.append(item)
        else:
            records[item.id] = item
    broken = {item.path.stem for item in damaged}
    wanted = {spec.id for spec in specs}
    current = _newest_fingerprints(records[i] for i in wanted if i in records)

    def state(spec: RunSpec) -> State:
        if spec.id in broken:
            return "damaged"
        record = records.get(spec.id)
        if record is None:
            return "pending"
        if record.protocol_version != PROTOCOL_VERSION:
            return "stale"
        if record.status == "done" and record.dataset is not None:
            return "done" if record.dataset.fingerprint == current[_images(record)] else "stale"
        return record.status

    return Plan(
        runs=tuple(PlannedRun(spec, state(spec), records.get(spec.id)) for spec in specs),
        damaged=tuple(damaged),
        foreign=tuple(sorted(set(records) - wanted)),
    )


def _images(record: RunRecord) -> str:
    return record.spec.source.model_dump_json() + str(record.spec.split_seed)


def _newest_fingerprints(records: Iterable[RunRecord]) -> dict[str, str]:
    newest: dict[str, tuple[str, str]] = {}
    for record in records:
        current = record.protocol_version == PROTOCOL_VERSION
        if current and record.status == "done" and record.dataset is not None:
            mine = (record.finished_at, record.dataset.fingerprint)
            newest[_images(record)] = max(mine, newest.get(_images(record), ("", "")))
    return {images: fingerprint for images, (_, fingerprint) in newest.items()}
