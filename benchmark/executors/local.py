"""Runs executed by worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.managers
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from pebble import ProcessExpired, ProcessPool

from benchmark import environment
from benchmark.executors.events import EpochDone, Event, Started
from benchmark.matrix import RunSpec
from benchmark.records import RunRecord, Status
from benchmark.runs import Outcome, RunContext, execute, now

POOLS = 3
"""How often a pool is started anew when all of its workers died before they took a run."""

_events: Any = None
"""In a worker: the queue to the parent."""


def _start_worker(events: Any) -> None:
    global _events
    _events = events


def _work(spec: RunSpec, context: RunContext) -> Outcome:
    _events.put(Started(spec.id, str(spec), sum(stage.epochs for stage in spec.stages), now()))
    return execute(spec, context, lambda epoch: _events.put(EpochDone(spec.id, epoch)))


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes started inside, and take them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _lost(spec: RunSpec, status: Status, reason: str, started_at: str) -> Outcome:
    record = RunRecord(id=spec.id, status=status, reason=reason, spec=spec, started_at=started_at, finished_at=now())
    return Outcome(record)


def run_locally(
    specs: Sequence[RunSpec],
    context: RunContext,
    timeout: float | None,
    on_event: Callable[[Event], None],
) -> Generator[Outcome, None, None]:
    """Execute runs in ``context.workers`` processes and yield their outcomes as they finish.

    Workers live on from run to run and are replaced when they die; a run whose worker dies or exceeds its time comes
    back as ``killed`` or ``timeout`` and the others go on. Closing the generator (Ctrl-C) stops the workers.

    Args:
        specs: the runs, started in this order.
        context: passed to each run.
        timeout: seconds a run; None: no limit.
        on_event: called from a thread of this process, in no fixed order among runs.
    """
    spawn = multiprocessing.get_context("spawn")
    started: dict[str, str] = {}
    with _variables(environment.worker_variables()):
        manager = multiprocessing.managers.SyncManager(ctx=spawn)
        manager.start(signal.signal, (signal.SIGINT, signal.SIG_IGN))  # Ctrl-C is the parent's to act on
        events = manager.Queue()

        def listen() -> None:
            while (event := events.get()) is not None:
                if isinstance(event, Started):
                    started[event.run_id] = event.at
                on_event(event)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            left = list(specs)
            for _ in range(POOLS):
                for spec, outcome in _in_one_pool(left, context, timeout, events, started):
                    left.remove(spec)
                    yield outcome
                if not left:
                    return
            now_lost = f"{POOLS} times all workers died before they took a run; see the system's log"
            yield from (_lost(spec, "killed", now_lost, now()) for spec in left)
        finally:
            events.put(None)
            listener.join()
            manager.shutdown()


def _in_one_pool(
    specs: Sequence[RunSpec], context: RunContext, timeout: float | None, events: Any, started: dict[str, str]
) -> Iterator[tuple[RunSpec, Outcome]]:
    """Execute runs in a pool of workers until they are done, or until a death among idle workers ends the pool."""
    pool = ProcessPool(
        max_workers=min(context.workers, len(specs)),
        context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=[events],
    )
    try:
        futures: dict[Any, RunSpec] = {
            pool.schedule(_work, args=[spec, context], timeout=timeout): spec for spec in specs
        }
        for future in as_completed(futures):
            spec = futures[future]
            began = started.get(spec.id, now())
            try:
                outcome = future.result()
            except FutureTimeout:
                outcome = _lost(spec, "timeout", f"exceeded its time of {timeout:g} s", began)
            except BrokenProcessPool:
                continue
            except ProcessExpired as error:
                outcome = _lost(spec, "killed", _how_it_ended(error.exitcode), began)
            yield spec, outcome
    finally:
        pool.stop()
        pool.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its worker was ended by signal {signal.Signals(-code).name}"
    return f"its worker ended with exit code {code}"
