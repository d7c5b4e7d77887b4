"""Start processes that have the libraries of a run, whose import takes seconds.

On Linux one process imports them once, and every other is forked from it (the ``forkserver`` of Python's
multiprocessing). It computes nothing and never uses a GPU, so that its forks are like new processes. Elsewhere,
where system libraries do not all survive a fork, each process is new and imports them itself; also where the folder of
temporary files has a name too long for the socket of that one process.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess, SpawnProcess
from types import ModuleType
from typing import Any

from benchmark import environment
from benchmark.errors import UserError

LONGEST_FOLDER = 70
"""Longest name of the folder of temporary files, bytes: a socket's may have 107 (unix(7)), and 32 are added to it."""

ATTEMPTS = 3
"""How often a process is started for one purpose, if each ends too early."""

_STARTING = threading.Lock()  # this process does not end in the middle of asking for a fork, which would be printed
atexit.register(_STARTING.acquire, timeout=1)

_ENVIRONMENT = threading.Lock()  # of this process: one thread at a time lends it to children


def are_shared() -> bool:
    """Return whether processes are forked from one that has imported everything."""
    return sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER


def start_importing() -> None:
    """Start the process that imports the libraries, which ends with this one; return at once.

    If it exists already, nothing happens.
    """
    if not are_shared():
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(["benchmark.execution.preloaded"])
    with _for_children():
        forkserver.ensure_running()


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess | SpawnProcess:
    """Start a process that calls ``target(*arguments)``; wait for the libraries first. Ctrl-C ends the waiting.

    Raises:
        UserError: the process to fork from ended, each time it was tried.
    """
    if not are_shared():
        spawned = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
        with _for_children(), _without_main():
            spawned.start()
        return spawned
    for _ in range(ATTEMPTS):
        with suppress(EOFError, ConnectionError):  # the process to fork from ended meanwhile
            start_importing()
            forked = multiprocessing.get_context("forkserver").Process(target=target, args=arguments, daemon=True)
            with _STARTING, _without_main():
                forked.start()  # returns when it is forked, which is after the import
            return forked
    raise UserError(f"{ATTEMPTS} times the process that imports the libraries was ended; free some memory.")


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a process that is started from executing the main module of this one, none of whose names it needs.

    A script that calls `benchmark.run` on its first level would call it again there (multiprocessing's "safe importing
    of main module").
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _for_children() -> Iterator[None]:
    """Give the processes started inside the variables of workers, and keep Ctrl-C, which this process acts on, away.

    They find modules where this process does, and not in the working folder first, as Python's ``-c`` would (and up to
    Python 3.10 does).
    """
    from multiprocessing import resource_tracker

    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    with _ENVIRONMENT:
        before = dict(os.environ)
        os.environ.update(environment.worker_variables() | paths)
        resource_tracker.ensure_running()  # whose start, up to Python 3.11, lets Ctrl-C through again
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.environ.clear()
            os.environ.update(before)
