"""Processes that have a run's libraries imported: that takes seconds, and is done once for all of them.

On Linux one process imports them, and workers are forked from it when they are needed (the ``forkserver`` of Python's
multiprocessing). It computes nothing and never uses a GPU, so that what is forked from it is as good as new. Elsewhere,
where system libraries do not all bear a fork, each worker is a new process that imports them itself; also where the
folder of temporary files has a name too long for the socket on which that one process is asked.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import TypeVar

from benchmark import environment

LONGEST_FOLDER = 70
"""Bytes in the name of the folder of temporary files: a socket's may have 107 (unix(7)), and 32 are added to it."""

ATTEMPTS = 3
"""How often a process is tried to be started."""

SERVER_GONE = (EOFError, ConnectionError)
"""What starting a process raises when the one that it is forked from ends in the middle of it."""

Started = TypeVar("Started")

IMPORTED = "benchmark.execution.preloaded"


def are_shared() -> bool:
    """Return whether workers are forked from a process that has imported everything."""
    return sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER


def context() -> ForkServerContext | SpawnContext:
    """Return how worker processes are started."""
    return multiprocessing.get_context("forkserver") if are_shared() else multiprocessing.get_context("spawn")


def start_importing() -> None:
    """Let the libraries be imported in a process of its own, from now on; returns at once.

    It ends with this process. Where one is there already, nothing happens.
    """
    if not are_shared():
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload([IMPORTED])
    with variables(environment.worker_variables()), interrupts_held():
        forkserver.ensure_running()


def wait_until_imported() -> None:
    """Return when workers can start without delay. Ctrl-C ends the waiting."""
    if are_shared():
        start_importing()
        persistently(lambda: _forked(context()))


def _forked(context: ForkServerContext | SpawnContext) -> None:
    first = context.Process(target=_nothing)
    first.start()  # returns when it is forked, which is after the import
    first.join()


def persistently(start: Callable[[], Started]) -> Started:
    """Call what starts a process; again, up to three times, where the one that it is forked from ends meanwhile."""
    for _ in range(ATTEMPTS - 1):
        with suppress(*SERVER_GONE):
            return start()
    return start()


def _nothing() -> None:
    pass


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
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


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from the processes and threads started inside: it is this process's to act on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
