"""The loop that takes runs through an executor into the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

from benchmark.execution.claims import ClaimedRuns
from benchmark.execution.events import Event
from benchmark.execution.executor import Executor
from benchmark.records.record import RunRecord
from benchmark.training.context import RunContext

LOOK_AGAIN = 1.0
"""Interval in seconds at which runs of other processes are checked."""


class Watcher(Protocol):
    """Receives what happens."""

    def event(self, event: Event) -> None:
        """Handle an event of a worker; called from any thread."""

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Handle the end of a run, here or in another process."""

    def waiting(self, runs: int) -> None:
        """Handle that nothing is left to start here, while other processes execute some runs."""


def execute_runs(
    runs: ClaimedRuns, executor: Executor, context: RunContext, timeout: float | None, watcher: Watcher
) -> list[RunRecord]:
    """Execute runs until each has ended here or elsewhere.

    Returns:
        The records of those that are not done.

    Raises:
        UserError: a record cannot be written.
    """
    ended = _records(runs, executor, context, timeout, watcher)
    return [record for record in ended if record.status != "done"]


def _records(
    runs: ClaimedRuns, executor: Executor, context: RunContext, timeout: float | None, watcher: Watcher
) -> Iterator[RunRecord]:
    reported = 0
    while True:
        with closing(executor(runs.take, context, timeout, watcher.event)) as outcomes:
            for outcome in outcomes:
                record = runs.settle(outcome)
                watcher.finished(record)
                yield record
        for record in runs.finished_elsewhere():
            watcher.finished(record, elsewhere=True)
            yield record
        if not runs.waiting:
            return
        if runs.waiting != reported:
            reported = runs.waiting
            watcher.waiting(reported)
        time.sleep(LOOK_AGAIN)
