"""State of each run of a matrix: the matrix compared with the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DoneRun, RunRecord, Status
from benchmark.records.store import DamagedRecord, StaleRecord, Store

State = Literal[Status, "stale", "damaged", "pending"]
STATES: tuple[State, ...] = get_args(State)
FAILURES: tuple[State, ...] = tuple(state for state in get_args(Status) if state != "done")
"""States of runs that were executed to an end other than done."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of the matrix, its state and its record."""

    spec: RunSpec
    state: State
    record: RunRecord | None
    """None if pending, damaged, or of another protocol."""


@dataclass(frozen=True)
class Plan:
    """Every run of a matrix with its state."""

    runs: tuple[PlannedRun, ...]
    damaged: tuple[DamagedRecord, ...]
    """Files among the records that cannot be read, of any matrix."""
    foreign: tuple[str, ...]
    """Ids of records whose run is not in the matrix."""

    @property
    def done(self) -> tuple[DoneRun, ...]:
        """Records of the done runs, in the matrix's order."""
        return tuple(run.record for run in self.runs if run.state == "done" and isinstance(run.record, DoneRun))

    @property
    def todo(self) -> tuple[RunSpec, ...]:
        """Specs of the runs that are not done."""
        return tuple(run.spec for run in self.runs if run.state != "done")

    def counts(self) -> dict[State, int]:
        """Return the number of runs per state that any run is in, in the order of `STATES`."""
        counted = Counter(run.state for run in self.runs)
        return {state: counted[state] for state in STATES if counted[state]}


def make_plan(specs: Iterable[RunSpec], store: Store) -> Plan:
    """Compare runs with the records on disk.

    A record made under another PROTOCOL_VERSION is stale, and so is a done record whose dataset fingerprint differs
    from that of the newest done record of the same dataset: one table cannot contain both.
    """
    specs = list(specs)
    found = list(store.scan())
    damaged = tuple(item for item in found if isinstance(item, DamagedRecord))
    of_another_protocol = {item.id for item in found if isinstance(item, StaleRecord)}
    records = {item.id: item for item in found if not isinstance(item, DamagedRecord | StaleRecord)}
    broken = {item.path.stem for item in damaged}
    wanted = {spec.id for spec in specs}
    current = _newest_fingerprints(record for run_id, record in records.items() if run_id in wanted)

    def state(spec: RunSpec) -> State:
        if spec.id in broken:
            return "damaged"
        if spec.id in of_another_protocol:
            return "stale"
        record = records.get(spec.id)
        if record is None:
            return "pending"
        if isinstance(record, DoneRun):
            return "done" if record.dataset.fingerprint == current[_images_key(record)] else "stale"
        return record.status

    return Plan(
        runs=tuple(PlannedRun(spec, state(spec), records.get(spec.id)) for spec in specs),
        damaged=damaged,
        foreign=tuple(sorted((records.keys() | of_another_protocol) - wanted)),
    )


def _images_key(record: RunRecord) -> str:
    return record.spec.source.model_dump_json()


def _newest_fingerprints(records: Iterable[RunRecord]) -> dict[str, str]:
    found = sorted(
        (record.finished_at, record.dataset.fingerprint, _images_key(record))
        for record in records
        if isinstance(record, DoneRun)
    )
    return {images: fingerprint for _, fingerprint, images in found}
