"""What an executor is: it takes runs one by one, as it has room for them, and gives back their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol

from benchmark.execution.events import Event
from benchmark.matrix.run_spec import RunSpec

if TYPE_CHECKING:
    from benchmark.training.context import Outcome, RunContext

Take = Callable[[], RunSpec | None]
"""Gives the next run to start, claimed for this process, in the caller's order; None: there is none to start now."""


class Executor(Protocol):
    """Executes runs somewhere. Records, claims and checkpoints that are no longer needed are the caller's business.

    A run that is taken comes back exactly once, whatever becomes of it: `execute` turns what goes wrong inside a run
    into a record, and the executor makes the record of a run that could not (killed, timeout), with the last lines of
    its worker's log. Only runs that can start at once are taken: what is taken here cannot be started elsewhere.
    Closing the generator (Ctrl-C) ends the workers before it returns.
    """

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs until ``take`` gives None and none is under way; yield outcomes as runs end.

        Args:
            take: the source of runs; called from this generator's thread only.
            context: passed to each run.
            timeout: seconds a run; None: no limit.
            on_event: called from any thread of this process, in no fixed order among runs.
        """
        ...
