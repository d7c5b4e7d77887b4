"""All that a worker needs for a run, imported; see `benchmark.execution.forkserver`, which has it imported once."""

from __future__ import annotations

import gc
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait


@contextmanager
def _ending_with_parent() -> Iterator[None]:
    """End this process if its parent is gone before the block ends, where the system can tell (Linux 5.3).

    The import takes seconds, in which nothing else would notice. The thread that watches is gone with the block: what
    is forked from this process finds one thread.
    """
    try:
        parent = os.pidfd_open(os.getppid())
    except (AttributeError, OSError):
        yield
        return
    ended, end = os.pipe()

    def watch() -> None:
        if parent in wait([parent, ended]):
            os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(end)
        thread.join()
        os.close(ended)
        os.close(parent)


with _ending_with_parent():
    for name in ("benchmark.training.run", "benchmark.execution.preflight", "benchmark.data.load"):
        importlib.import_module(name)

gc.freeze()  # what is imported is the same in every process that is forked from here: no collection touches its pages
