"""Starting processes that have the libraries of a run loaded, whose import takes seconds.

On Linux one process imports the libraries, and all others are forked from it (the ``forkserver`` of Python's
multiprocessing). It computes nothing and never uses a GPU, so its forks are like new processes. On other systems, where
some system libraries do not survive a fork, and if the name of the temporary folder is too long for the fork server's
socket, each process is new and imports the libraries itself.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerProcess, SpawnProcess
from types import ModuleType
from typing import Any

from benchmark import environment
from benchmark.errors import UserError

LONGEST_FOLDER = 70
"""Maximum length of the temporary folder's name in bytes: a socket name may have 107 (unix(7)), and 32 are added."""

ATTEMPTS = 3
"""Maximum number of attempts to start a process for one purpose."""

WAIT = 0.5
"""Time added before each further attempt, seconds."""

_STARTING = threading.Lock()  # so that this process does not end while it requests a fork, which prints an error
atexit.register(_STARTING.acquire, timeout=1)

_ENVIRONMENT = threading.Lock()  # one thread at a time changes the environment for its children


def are_shared() -> bool:
    """Return whether processes are forked from one that has imported the libraries."""
    return sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER


def start_importing() -> None:
    """Start the process that imports the libraries, if it does not exist yet; do not wait for it.

    It ends with this process.
    """
    if not are_shared():
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(["benchmark.execution.preloaded"])
    with _for_children():
        forkserver.ensure_running()


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess | SpawnProcess:
    """Start a process that calls ``target(*arguments)``, after waiting for the libraries; Ctrl-C ends the wait.

    Raises:
        UserError: the fork server ended in each attempt.
    """
    if not are_shared():
        spawned = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
        with _for_children(), _without_main():
            spawned.start()
        return spawned
    for attempt in range(ATTEMPTS):
        time.sleep(attempt * WAIT)  # a killed process takes a while to end, and accepts connections until then
        with suppress(EOFError, ConnectionError):  # the fork server has ended
            start_importing()
            forked = multiprocessing.get_context("forkserver").Process(target=target, args=arguments, daemon=True)
            with _STARTING, _without_main():
                forked.start()  # returns after the fork, which follows the import
            return forked
    raise UserError(f"the process that imports the libraries was ended {ATTEMPTS} times. Free some memory.")


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep processes started in the block from executing this process's main module, which they do not need.

    A script that calls `benchmark.run` at module level would call it again there (multiprocessing's "safe importing of
    main module").
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _for_children() -> Iterator[None]:
    """Give processes started in the block the variables of workers, and let only this process handle Ctrl-C.

    They find modules like this process, and not first in the working folder as with Python's ``-c`` (which Python 3.10
    and older still do).
    """
    from multiprocessing import resource_tracker

    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
    with _ENVIRONMENT:
        before = dict(os.environ)
        os.environ.update(environment.worker_variables() | paths)
        resource_tracker.ensure_running()  # in Python 3.11 and older, its start unblocks Ctrl-C
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.environ.clear()
            os.environ.update(before)
