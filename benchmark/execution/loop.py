"""The loop that takes runs through an executor into the store."""

from __future__ import annotations

import time
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
    """Display of the progress."""

    def event(self, event: Event) -> None:
        """Handle an event of a worker; called from any thread."""

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Handle the end of a run, here or in another process."""

    def waiting(self, runs: int) -> None:
        """Handle that only runs of other processes are left."""


def execute_runs(
    runs: ClaimedRuns, executor: Executor, context: RunContext, timeout: float | None, watcher: Watcher
) -> list[RunRecord]:
    """Execute runs until each has ended here or elsewhere.

    Returns:
        The records of those that are not done.

    Raises:
        UserError: a record cannot be written.
    """
    ended: list[RunRecord] = []
    reported = 0
    while True:
        with closing(executor(runs.take, context, timeout, watcher.event)) as outcomes:
            for outcome in outcomes:
                ended.append(runs.settle(outcome))
                watcher.finished(ended[-1])
        for record in runs.finished_elsewhere():
            ended.append(record)
            watcher.finished(record, elsewhere=True)
        if not runs.waiting:
            return [record for record in ended if record.status != "done"]
        if runs.waiting != reported:
            reported = runs.waiting
            watcher.waiting(reported)
        time.sleep(LOOK_AGAIN)
