"""Runs executed by worker processes of this machine."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from benchmark import environment
from benchmark.execution import forkserver, worker
from benchmark.execution.events import Event, Ready, Started
from benchmark.execution.executor import Executor, Take
from benchmark.execution.gpus import variables_of_workers
from benchmark.execution.worker_log import last_lines
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure, UnfinishedRun
from benchmark.training import out_of_memory
from benchmark.training.context import Outcome, RunContext, now

LOOK_AGAIN = 5.0
"""Seconds between looks at pools that may have broken without a word."""

ATTEMPTS = 3
"""How often a worker is started anew for a run that it died before taking."""


@contextmanager
def local_workers(number: int, gpus: Sequence[str]) -> Iterator[Executor]:
    """Start worker processes; gives an `interface.Executor` of runs in them.

    Workers live on from run to run; each sees one GPU, in turns, where there are any. One that dies, or exceeds the
    time of its run, costs that run only, which comes back as ``killed``, ``oom`` or ``timeout``, and is replaced; all
    end with the block and with this process, however they end.

    Args:
        number: of workers.
        gpus: names of this machine's GPUs, as `benchmark.execution.gpus.list_gpus` tells them.
    """
    slots = tuple(_Slot(variables) for variables in variables_of_workers(number, gpus))
    try:
        for slot in slots:
            slot.start()
        yield partial(_executed, slots)
    finally:
        _stop(slots)


def _stop(slots: Collection[_Slot]) -> None:
    with ThreadPoolExecutor(max(1, len(slots))) as stopping:
        list(stopping.map(_Slot.stop, slots))


def _executed(
    slots: Sequence[_Slot],
    take: Take,
    context: RunContext,
    timeout: float | None,
    on_event: Callable[[Event], None],
) -> Generator[Outcome, None, None]:
    for slot in slots:
        slot.on_event = on_event
    idle = list(slots)
    busy: dict[Future[Outcome], tuple[_Slot, RunSpec]] = {}
    try:
        while True:
            while idle and (spec := take()) is not None:
                slot = idle.pop()
                busy[slot.submit(spec, context, timeout)] = slot, spec
            if not busy:
                return
            finished, unfinished = wait(busy, timeout=LOOK_AGAIN, return_when=FIRST_COMPLETED)
            ended = []
            for future in (*finished, *(future for future in unfinished if busy[future][0].broken)):
                slot, spec = busy.pop(future)
                outcome = slot.outcome(future, spec, timeout)
                if outcome is None:
                    busy[slot.submit(spec, context, timeout)] = slot, spec
                    continue
                idle.append(slot)
                ended.append(outcome)
            while idle and (spec := take()) is not None:  # before the caller takes its time to write the outcomes
                slot = idle.pop()
                busy[slot.submit(spec, context, timeout)] = slot, spec
            yield from ended
    finally:
        _stop([slot for slot, _ in busy.values()])  # nobody waits for their runs any more


class _Slot:
    """A place for one run at a time: a pool of one worker, replaced with all its channels when the worker ends.

    Workers of one pool share its locks: one killed while it holds a lock would stop the others.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.on_event: Callable[[Event], None] = lambda event: None
        """Told what the worker tells of its run; set before it is given one."""
        self._variables = dict(variables)
        self._pool: ProcessPool | None = None
        self._started: Started | None = None
        self._attempts = 0

    def submit(self, spec: RunSpec, context: RunContext, timeout: float | None) -> Future[Outcome]:
        """Give the worker a run."""
        if self.broken:
            self.stop()
        if self._pool is None:
            self.start()
        assert self._pool is not None
        self._started = None
        self._kills = out_of_memory.kills()
        future: Future[Outcome] = self._pool.schedule(worker.work, args=[spec, context], timeout=timeout)
        return future

    @property
    def broken(self) -> bool:
        """Whether the worker ended and its run's future is not told.

        The pool gives up when its worker dies while it has no run, and replaces one that ends with exit code 0.
        """
        return self._pool is not None and (self._replaced or not self._pool.active)

    def start(self) -> None:
        """Start the worker; returns when it has what it needs for a run."""
        forkserver.wait_until_imported()
        context = forkserver.context()
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-worker-")
        self._log = Path(self._folder.name) / "log"
        self._reader, self._writer = context.Pipe(duplex=False)
        self._ready = self._replaced = False
        given = {**environment.worker_variables(), **self._variables}
        with forkserver.variables(given), forkserver.interrupts_held():
            arguments = [self._writer, self._log, dict(os.environ)]
            self._pool = forkserver.persistently(partial(_pool, arguments, context))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        while True:
            try:
                event: Event | Ready = self._reader.recv()
            except (EOFError, OSError):  # the last writer has closed its end, or died in the middle of an event
                return
            if isinstance(event, Ready):
                self._replaced, self._ready = self._ready, True
                continue
            if isinstance(event, Started):
                self._replaced = False  # the new worker has taken the run that the old one had not
                self._started = event
            self.on_event(event)

    def stop(self) -> None:
        """End the worker and what belongs to it."""
        if self._pool is None:
            return
        self._pool.stop()
        self._pool.join()
        self._writer.close()
        self._listener.join()
        self._reader.close()
        self._folder.cleanup()
        self._pool = None

    def outcome(self, future: Future[Outcome], spec: RunSpec, timeout: float | None) -> Outcome | None:
        """Return how a run ended; None: its worker died before it took the run, which may be submitted again."""
        error = future.exception() if future.done() else BrokenProcessPool()
        if error is None and future.result().record.status == "done":
            self._attempts = 0
            return future.result()
        lines = last_lines(self._log)
        if error is None:
            record = future.result().record
            if record.status == "oom":  # what it mapped before would narrow the next run
                self.stop()
        else:
            self.stop()
            self._attempts += 1
            if self._started is None and self._attempts < ATTEMPTS:
                return None
            record = _lost(spec, error, timeout, self._started, self._kills)
        self._attempts = 0
        return Outcome(record.model_copy(update={"log": lines}))


def _pool(arguments: Sequence[object], context: BaseContext) -> ProcessPool:
    pool = ProcessPool(1, initializer=worker.start, initargs=arguments, context=context)
    _ = pool.active  # starts the worker
    return pool


def _lost(
    spec: RunSpec, error: BaseException, timeout: float | None, started: Started | None, kills: int | None
) -> UnfinishedRun:
    """Return the record of a run whose worker could not make it."""
    status: Failure = "killed"
    trace = None
    if started is None:
        reason = f"{ATTEMPTS} times its worker died before it took the run; see the system's log"
    elif isinstance(error, FutureTimeout):
        status, reason = "timeout", f"exceeded its time of {timeout:g} s"
    elif isinstance(error, ProcessExpired):
        reason = _how_it_ended(error.exitcode)
        if error.exitcode == -signal.SIGKILL and kills is not None and (out_of_memory.kills() or 0) > kills:
            status = "oom"
            reason += f" while the kernel's out-of-memory killer struck, at batch size {spec.batch_size}"
    elif isinstance(error, BrokenProcessPool):
        reason = "its worker ended without a word"
    else:
        status, reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
        trace = "".join(traceback.format_exception(error))
    began = started.at if started else now()
    return UnfinishedRun(
        id=spec.id, status=status, reason=reason, traceback=trace, spec=spec, started_at=began, finished_at=now()
    )


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its worker was ended by signal {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}"
