"""State of each run of a matrix, from a comparison with the store."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.matrix.run_spec import RunSpec
from benchmark.matrix.tuning import candidates, group, tuning_runs
from benchmark.records import looks
from benchmark.records.choice import Choice, choose
from benchmark.records.record import DoneRun, Failure, FinishedRun, RunRecord, TunedRun
from benchmark.records.store import DamagedRecord, StaleRecord, Store

State = Literal["done", Failure, "stale", "damaged", "pending", "waiting"]
"""``waiting``: a reported run whose learning rate is not chosen yet."""
STATES: tuple[State, ...] = get_args(State)
FAILURES: tuple[State, ...] = get_args(Failure)
"""States of runs that were started but are not done."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of the matrix with its state and record."""

    spec: RunSpec
    """Definition of the run; while it is waiting, with the first candidate learning rate."""
    state: State
    record: RunRecord | None
    """None if pending, waiting, damaged, or from another protocol version."""


@dataclass(frozen=True)
class Plan:
    """Every run of a matrix with its state."""

    runs: tuple[PlannedRun, ...]
    damaged: tuple[DamagedRecord, ...]
    """Record files that cannot be read, whatever their run."""
    foreign: tuple[str, ...]
    """Ids of records whose run is not in the matrix."""
    tuning: tuple[PlannedRun, ...] = ()
    """Tuning runs, which choose learning rates; ``runs`` are the reported runs."""
    choices: tuple[Choice, ...] = ()
    """Choices of learning rates; empty if the matrix gives the learning rate."""

    @property
    def all_runs(self) -> tuple[PlannedRun, ...]:
        """Tuning runs, then reported runs."""
        return (*self.tuning, *self.runs)

    @property
    def done(self) -> tuple[DoneRun, ...]:
        """Records of the done reported runs, in matrix order."""
        return tuple(run.record for run in self.runs if run.state == "done" and isinstance(run.record, DoneRun))

    @property
    def finished(self) -> tuple[FinishedRun, ...]:
        """Records of all done runs, tuning runs included."""
        tuned = (run.record for run in self.tuning if run.state == "done")
        return (*(record for record in tuned if isinstance(record, TunedRun)), *self.done)

    @property
    def todo(self) -> tuple[RunSpec, ...]:
        """Specs of the runs that are not done."""
        return tuple(run.spec for run in self.all_runs if run.state != "done")

    def counts(self) -> dict[State, int]:
        """Return the number of reported runs per state; see `count_states`."""
        return count_states(self.runs)


def count_states(runs: Iterable[PlannedRun]) -> dict[State, int]:
    """Return the number of runs per state, for the states that occur, in the order of `STATES`."""
    counted = Counter(run.state for run in runs)
    return {state: counted[state] for state in STATES if counted[state]}


def make_plan(matrix: Matrix, store: Store, looked: looks.Looks | None = None) -> Plan:
    """Compare the runs of a matrix with the records on disk.

    Where a rule decides on seeds, the runs are those of the seeds that each dataset takes after the looks at it, by
    default those on disk.

    A record made under another PROTOCOL_VERSION is stale. So is a done record whose dataset fingerprint differs from
    the fingerprint in the newest done record of the same dataset, because one table cannot contain both.
    """
    choosing, reported = tuning_runs(matrix), candidates(matrix)
    found = list(store.scan())
    damaged = tuple(item for item in found if isinstance(item, DamagedRecord))
    of_another_protocol = {item.id for item in found if isinstance(item, StaleRecord)}
    records = {item.id: item for item in found if not isinstance(item, DamagedRecord | StaleRecord)}
    broken = {item.path.stem for item in damaged}
    possible = {spec.id for spec in itertools.chain(choosing, *reported)}
    current = _newest_fingerprints(record for run_id, record in records.items() if run_id in possible)

    def state(spec: RunSpec) -> State:
        if spec.id in broken:
            return "damaged"
        if spec.id in of_another_protocol:
            return "stale"
        record = records.get(spec.id)
        if record is None:
            return "pending"
        if isinstance(record, FinishedRun):
            return "done" if record.dataset.fingerprint == current[_images_key(record)] else "stale"
        return record.status

    def planned(spec: RunSpec) -> PlannedRun:
        record = records.get(spec.id)
        return PlannedRun(spec, state(spec), record and _under_its_label(record, spec.dataset))

    tuning = tuple(planned(spec) for spec in choosing)
    choices = choose(tuning)
    runs, asked = [], {spec.id for spec in choosing}
    for row in reported:
        lr = choices[group(row[0])].lr if choices else matrix.training.lr[0]
        if lr is None:
            runs.append(PlannedRun(row[0], "waiting", None))
            asked.update(spec.id for spec in row)
        else:
            runs.append(planned(row[matrix.training.lr.index(lr)]))
            asked.add(runs[-1].spec.id)
    foreign = tuple(sorted((records.keys() | of_another_protocol) - asked))
    if isinstance(matrix.seeds, UntilSettled):
        taken = looks.seeds_of(matrix, matrix.seeds, looks.read(store.folder) if looked is None else looked)
        runs = [run for run in runs if run.spec.seed in taken[run.spec.dataset]]
    return Plan(tuple(runs), damaged, foreign, tuning, tuple(choices.values()))


def _under_its_label(record: RunRecord, label: str) -> RunRecord:
    """Return a record with the current label of its dataset, which is not part of the run's id."""
    if record.spec.dataset == label:
        return record
    return record.model_copy(update={"spec": record.spec.model_copy(update={"dataset": label})})


def _images_key(record: RunRecord) -> str:
    return record.spec.source.model_dump_json()


def _newest_fingerprints(records: Iterable[RunRecord]) -> dict[str, str]:
    found = sorted(
        (record.finished_at, record.dataset.fingerprint, _images_key(record))
        for record in records
        if isinstance(record, FinishedRun)
    )
    return {images: fingerprint for _, fingerprint, images in found}
