"""Claims on the runs of a command, respected by every other command on the same results folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from benchmark.matrix.run_spec import RunSpec
from benchmark.records.locks import Claims
from benchmark.records.plan import PlannedRun
from benchmark.records.record import RunRecord
from benchmark.records.store import DamagedRecord, Store

if TYPE_CHECKING:
    from benchmark.training.context import Outcome

FINAL = ("done", "failed", "diverged")
"""States after which a run keeps no checkpoint; one that was cut off (killed, timeout, oom) can be resumed."""


class ClaimedRuns:
    """Runs to execute, each by one process only.

    A run is claimed before it starts, and its record is read again then: one that another process has written since
    this command read it becomes the run's outcome, done or not.

    Args:
        store: the records.
        planned: the runs to execute, in this order.
        from_scratch: ignore checkpoints, and delete them.
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
        """Number of runs that this process has not taken, and that no process has finished."""
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
            # as text: a loss that is NaN equals no other
            before = run.record.model_dump_json() if run.record else None
            if isinstance(record, DamagedRecord) or record.model_dump_json() == before:
                if self._from_scratch:
                    self._store.remove_checkpoints(run_id)
                return run.spec
            self._claims.release(run_id)
            self._elsewhere.append(record)
        return None

    def settle(self, outcome: Outcome) -> RunRecord:
        """Write the record of a run that this process has taken, and release the run.

        Raises:
            UserError: the record cannot be written; nothing of it is.
        """
        record = self._store.save(outcome.record, outcome.predictions, outcome.shown)
        if record.status in FINAL:
            self._store.remove_checkpoints(record.id)
        self._claims.release(record.id)
        return record

    def finished_elsewhere(self) -> list[RunRecord]:
        """Return records of these runs by other processes, each once."""
        found, self._elsewhere = self._elsewhere, []
        return found


def remove_done_checkpoints(store: Store, done: Collection[str]) -> None:
    """Delete checkpoints of done runs, left by a command that was killed right after writing a record.

    Args:
        store: the records.
        done: ids. A run that another process is executing again keeps its checkpoints.

    Raises:
        UserError: the results folder cannot be written.
    """
    claims = Claims(store.folder)
    for run_id in store.checkpointed() & set(done):
        if claims.claim(run_id):
            store.remove_checkpoints(run_id)
            claims.release(run_id)
