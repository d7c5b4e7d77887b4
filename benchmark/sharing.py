"""The runs of a command, shared with every other command that works on the same results folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from benchmark import checkpoint_files
from benchmark.locks import Claims
from benchmark.matrix import RunSpec
from benchmark.plan import PlannedRun
from benchmark.records import RunRecord
from benchmark.store import Store

if TYPE_CHECKING:
    from benchmark.run_context import Outcome

ENDED = ("done", "failed", "diverged")
"""States after which a run has nothing to go on from; one that was cut off (killed, timeout, oom) keeps its
checkpoint."""


class SharedRuns:
    """Runs that shall be done, each executed by one process.

    A run is claimed before it starts, and what is on disk of it is read again then: what another process has recorded
    since this command looked is taken as its outcome, whatever it says.

    Args:
        store: the records.
        planned: the runs to execute, in this order.
        anew: start from the first epoch, whatever checkpoints there are.
    """

    def __init__(self, store: Store, planned: Sequence[PlannedRun], *, anew: bool = False) -> None:
        self._store = store
        self._anew = anew
        self._claims = Claims(store.folder)
        self._waiting = {run.spec.id: run for run in planned}
        self._elsewhere: list[RunRecord] = []

    def __enter__(self) -> SharedRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._claims.release_all()

    @property
    def waiting(self) -> int:
        """Runs that neither this process has taken nor any has finished."""
        return len(self._waiting)

    def take(self) -> RunSpec | None:
        """Claim the next run for this process; None: the ones that are left are other processes', or none are.

        Raises:
            UserError: the results folder cannot be written.
        """
        for run_id, run in list(self._waiting.items()):
            if not self._claims.claim(run_id):
                continue
            del self._waiting[run_id]
            made = self._store.load(self._store.path(run_id)) if self._store.path(run_id).exists() else None
            before = run.record.model_dump_json() if run.record else None
            if not isinstance(made, RunRecord) or made.model_dump_json() == before:
                if self._anew:
                    checkpoint_files.remove(self._store.checkpoints, run_id)
                return run.spec
            self._claims.release(run_id)
            self._elsewhere.append(made)
        return None

    def settle(self, outcome: Outcome) -> RunRecord:
        """Write the record of a run that this process has taken, and give the run up.

        Raises:
            UserError: the record cannot be written; nothing of it is.
        """
        record = self._store.save(outcome.record, outcome.predictions, outcome.shown)
        if record.status in ENDED:
            checkpoint_files.remove(self._store.checkpoints, record.id)
        self._claims.release(record.id)
        return record

    def finished_elsewhere(self) -> list[RunRecord]:
        """Return the records that other processes have made of these runs, each once."""
        found, self._elsewhere = self._elsewhere, []
        return found


def forget_done(store: Store, done: Collection[str]) -> None:
    """Delete checkpoints of runs that are done: a command killed right after it wrote a record has left them.

    Args:
        store: the records.
        done: ids. Of these, the ones that another process executes again are left alone.

    Raises:
        UserError: the results folder cannot be written.
    """
    claims = Claims(store.folder)
    for run_id in checkpoint_files.runs_in(store.checkpoints) & set(done):
        if claims.claim(run_id):
            checkpoint_files.remove(store.checkpoints, run_id)
            claims.release(run_id)
