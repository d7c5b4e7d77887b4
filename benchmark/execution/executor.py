"""Interface of executors, which take runs one by one when they can start them, and yield their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from benchmark.execution.events import Event, Started
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure, UnfinishedRun
from benchmark.training.context import Outcome, RunContext, now

Take = Callable[[], RunSpec | None]
"""Function that claims and returns the next run to start, in the caller's order, or None if none can start now."""


class Executor(Protocol):
    """Executes runs somewhere. The caller writes records, releases claims and deletes checkpoints.

    Each run taken is returned exactly once. `training.run.execute_run` records errors of the run; the executor creates
    the record of a run that was stopped (killed, timeout), with the last lines of its log. A run is only taken if it
    can start immediately, because no other process can start it then. Closing the generator (Ctrl-C) ends the workers
    before it returns.
    """

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs until ``take`` returns None and no run is active; yield outcomes as runs end.

        Args:
            take: the source of runs, called only from this generator's thread.
            context: passed to each run.
            timeout: seconds per run, or None for no limit.
            on_event: called from any thread of this process; events of different runs have no fixed order.
        """
        ...


def not_done(
    spec: RunSpec, started: Started | None, status: Failure, reason: str, traceback: str | None = None
) -> Outcome:
    """Return the outcome of a run whose process ended without returning one."""
    return Outcome(
        UnfinishedRun(
            id=spec.id,
            status=status,
            reason=reason,
            traceback=traceback,
            spec=spec,
            started_at=started.at if started else now(),
            finished_at=now(),
        )
    )
