"""Runs of a command, claimed so that no other command on the same results folder executes them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import closing
from types import TracebackType
from typing import Protocol

from benchmark.execution.events import Event
from benchmark.execution.executor import Executor
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.locks import Claims
from benchmark.records.plan import PlannedRun
from benchmark.records.record import RunRecord, UnfinishedRun
from benchmark.records.store import DamagedRecord, StaleRecord, Store
from benchmark.training.context import Outcome, RunContext

FINAL = ("done", "tuned", "failed", "diverged")
"""States after which checkpoints are deleted. Runs that were stopped (killed, timeout, oom) can resume from them."""

LOOK_AGAIN = 1.0
"""Interval in seconds at which runs of other processes are checked."""


class ClaimedRuns:
    """Runs to execute, each in only one process.

    A run is claimed before it starts, and its record is then read again. If another process has written a new record in
    the meantime, it becomes the run's outcome, done or not.

    Args:
        store: the records.
        planned: the runs to execute, in this order.
        from_scratch: whether to ignore and delete checkpoints.
    """

    def __init__(self, store: Store, planned: Sequence[PlannedRun], *, from_scratch: bool = False) -> None:
        self._store = store
        self._from_scratch = from_scratch
        self._claims = Claims(store.folder)
        self._waiting = {run.spec.id: run for run in planned}
        self._elsewhere: list[RunRecord] = []

    def __enter__(self) -> ClaimedRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._claims.release_all()

    @property
    def waiting(self) -> int:
        """Number of runs not taken by this process and not finished by any process."""
        return len(self._waiting)

    def take(self) -> RunSpec | None:
        """Claim and return the next run, or None if every remaining run is claimed elsewhere.

        Raises:
            UserError: the results folder cannot be written.
        """
        for run_id, run in list(self._waiting.items()):
            if not self._claims.claim(run_id):
                continue
            del self._waiting[run_id]
            record = self._store.load(self._store.path(run_id))
            # as text, because NaN does not equal NaN
            before = run.record.model_dump_json() if run.record else None
            if isinstance(record, DamagedRecord | StaleRecord) or record.model_dump_json() == before:
                if self._from_scratch:
                    self._store.remove_checkpoints(run_id)
                return run.spec
            self._claims.release(run_id)
            self._elsewhere.append(record)
        return None

    def settle(self, outcome: Outcome) -> RunRecord:
        """Write the record of a run taken by this process, and release the run.

        Raises:
            UserError: the record cannot be written; nothing is written then.
        """
        record = self._store.save(outcome.record, outcome.predictions, outcome.exhibits)
        if record.status in FINAL:
            self._store.remove_checkpoints(record.id)
        self._claims.release(record.id)
        return record

    def finished_elsewhere(self) -> list[RunRecord]:
        """Return the records of these runs written by other processes since the last call."""
        found, self._elsewhere = self._elsewhere, []
        return found


class Watcher(Protocol):
    """Display of progress."""

    def event(self, event: Event) -> None:
        """Handle an event of a worker; called from any thread."""

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Handle the end of a run, here or in another process."""

    def waiting(self, runs: int) -> None:
        """Handle the state in which all remaining runs belong to other processes."""


def execute_runs(
    runs: ClaimedRuns, executor: Executor, context: RunContext, timeout: float | None, watcher: Watcher
) -> list[RunRecord]:
    """Execute runs until each has ended, here or in another process.

    Returns:
        The records of runs that are not done.

    Raises:
        UserError: a record cannot be written.
    """
    ended: list[RunRecord] = []
    reported = 0

    def report_elsewhere() -> None:
        for record in runs.finished_elsewhere():
            ended.append(record)
            watcher.finished(record, elsewhere=True)

    while True:
        with closing(executor(runs.take, context, timeout, watcher.event)) as outcomes:
            for outcome in outcomes:
                ended.append(runs.settle(outcome))
                watcher.finished(ended[-1])
                report_elsewhere()
        report_elsewhere()
        if not runs.waiting:
            return [record for record in ended if isinstance(record, UnfinishedRun)]
        if runs.waiting != reported:
            reported = runs.waiting
            watcher.waiting(reported)
        time.sleep(LOOK_AGAIN)


def remove_done_checkpoints(store: Store, done: Collection[str]) -> None:
    """Delete checkpoints of done runs, which remain if a command was killed right after writing a record.

    Args:
        store: the records.
        done: ids of done runs. Checkpoints of a run that another process is executing again are kept.

    Raises:
        UserError: the results folder cannot be written.
    """
    claims = Claims(store.folder)
    for run_id in store.checkpointed_runs() & set(done):
        if claims.claim(run_id):
            store.remove_checkpoints(run_id)
            claims.release(run_id)
