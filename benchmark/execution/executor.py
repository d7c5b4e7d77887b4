"""The interface of executors: each takes runs one by one, as it has room for them, and yields their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from benchmark.execution.events import Event, Started
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure, UnfinishedRun
from benchmark.training.context import Outcome, RunContext, now

Take = Callable[[], RunSpec | None]
"""Returns the next run to start, claimed for this process, in the caller's order, or None if none can start now."""


class Executor(Protocol):
    """Executes runs somewhere. The caller writes records, and releases claims and checkpoints.

    Each run that is taken comes back exactly once: `training.run.execute_run` records errors of the run itself, and the
    executor makes the record of a run that ended otherwise (killed, timeout), with the last lines of its log. Only runs
    that can start at once are taken: no other process can start them. Closing the generator (Ctrl-C) ends the workers
    before it returns.
    """

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs until ``take`` returns None and none is under way; yield outcomes as runs end.

        Args:
            take: the source of runs; called from this generator's thread only.
            context: passed to each run.
            timeout: seconds per run, or None for no limit.
            on_event: called from any thread of this process, in no fixed order among runs.
        """
        ...


def not_done(
    spec: RunSpec, started: Started | None, status: Failure, reason: str, traceback: str | None = None
) -> Outcome:
    """Return the outcome of a run whose process ended without one."""
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
