"""Execution of runs in processes of this machine, one per run."""

from __future__ import annotations

import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmark.execution import worker
from benchmark.execution.events import Event, Started
from benchmark.execution.executor import Take, not_done
from benchmark.execution.forkserver import ATTEMPTS
from benchmark.execution.gpus import variables_of_workers
from benchmark.execution.side_process import Child, ChildEndedError
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure, UnfinishedRun
from benchmark.training import out_of_memory
from benchmark.training.context import Outcome, RunContext

LOOK_AGAIN = 60.0
"""Maximum interval between checks of processes that send nothing, seconds."""


@dataclass(frozen=True)
class LocalExecutor:
    """Execute runs in processes of this machine; see `executor.Executor`.

    Each run has a separate process, which sees one GPU if there are any. If the process dies or exceeds its time, only
    its run is affected and gets the status ``killed``, ``oom`` or ``timeout``.

    Attributes:
        workers: number of concurrent runs.
        gpus: names of this machine's GPUs, see `gpus.list_gpus`.
    """

    workers: int
    gpus: Sequence[str]

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs; see `executor.Executor`."""
        idle = list(variables_of_workers(self.workers, self.gpus))
        running: list[_Run] = []
        with tempfile.TemporaryDirectory(prefix="benchmark-workers-") as folder:

            def start() -> None:
                while idle and (spec := take()) is not None:
                    running.append(_Run(spec, context, timeout, idle.pop(0), Path(folder)))

            try:
                while True:
                    start()
                    if not running:
                        return
                    Child.wait([run.child for run in running], min(LOOK_AGAIN, *(run.seconds_left for run in running)))
                    ended = [(run, outcome) for run in running if (outcome := run.advance(on_event)) is not None]
                    for run, _ in ended:
                        running.remove(run)
                        idle.append(run.variables)
                    start()  # before the caller spends time on writing the outcomes
                    yield from (outcome for _, outcome in ended)
            finally:
                for run in running:
                    run.child.end()


class _Run:
    """A run and its process."""

    def __init__(
        self, spec: RunSpec, context: RunContext, timeout: float | None, variables: Mapping[str, str], folder: Path
    ) -> None:
        self.variables = dict(variables)
        self._spec, self._timeout, self._log = spec, timeout, folder / spec.id
        self._call = partial(worker.work, self._log, spec, context)
        self._attempts = 0
        self._start()

    def _start(self) -> None:
        self._attempts += 1
        self._kills = out_of_memory.kills()
        self._started: Started | None = None
        self._deadline = float("inf")
        self.child = Child(self._call, self.variables)

    @property
    def seconds_left(self) -> float:
        """Seconds until the run exceeds its time; infinite if it has not started or has no limit."""
        return max(0.0, self._deadline - time.monotonic())

    def advance(self, on_event: Callable[[Event], None]) -> Outcome | None:
        """Forward new events; return the outcome, or None if the run is active."""
        for event in self.child.received():
            if isinstance(event, Started):
                self._started = event
                if self._timeout is not None:
                    self._deadline = time.monotonic() + self._timeout
            on_event(event)
        if not self.child.is_over and self.seconds_left:
            return None
        self.child.end()
        try:
            outcome = self.child.result() if self.child.is_over else self._timed_out()
        except ChildEndedError as error:
            if self._started is None and self._attempts < ATTEMPTS:
                self._start()
                return None
            outcome = not_done(self._spec, self._started, *self._explain_end(error.code))
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            outcome = not_done(self._spec, self._started, "failed", reason, trace)
        if isinstance(outcome.record, UnfinishedRun):
            outcome = replace(outcome, record=outcome.record.model_copy(update={"log": worker.last_lines(self._log)}))
        self._log.unlink(missing_ok=True)
        return outcome

    def _timed_out(self) -> Outcome:
        return not_done(self._spec, self._started, "timeout", f"exceeded its time limit of {self._timeout:g} s")

    def _explain_end(self, code: int | None) -> tuple[Failure, str]:
        if self._started is None:
            return "killed", f"its process died {ATTEMPTS} times before the run started; see the system log"
        if code is None or code >= 0:
            return "killed", f"its worker ended with exit code {code}"
        reason = f"its worker was ended by signal {signal.Signals(-code).name}"
        if code == -signal.SIGKILL and self._kills is not None and (out_of_memory.kills() or 0) > self._kills:
            struck = f" while the kernel's out-of-memory killer was active, at batch size {self._spec.batch_size}"
            return "oom", reason + struck
        return "killed", reason
