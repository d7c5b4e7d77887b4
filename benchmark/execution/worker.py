"""What a worker process does around `execute_run`: tells events, keeps its last lines, ends with its parent.

Without torch, whose import takes seconds, in which a worker must already end with its parent.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.environment import WORKER_VARIABLES
from benchmark.execution.events import EpochDone, Event, Ready, Started, Warned
from benchmark.matrix.run_spec import RunSpec

if TYPE_CHECKING:
    from benchmark.records.record import EpochRecord
    from benchmark.training.context import Outcome, RunContext

logger = logging.getLogger(__name__)

_tell: Callable[[Event], None] = lambda event: None  # noqa: E731 - a variable of this type, set once by `start`
_log: Path | None = None


def start(events: Connection, log: Path, variables: Mapping[str, str]) -> None:
    """Prepare a worker process of this machine; see `begin`.

    Args:
        events: to the parent.
        log: see `begin`.
        variables: see `set_environment`.
    """
    set_environment(variables)
    end_with_parent()
    events.send(Ready())
    begin(events.send, log)


def begin(tell: Callable[[Event], None], log: Path) -> None:
    """Prepare this process for `work`.

    Args:
        tell: takes the events of its runs.
        log: file that takes what this process prints, its log and its libraries' output included.
    """
    global _tell, _log
    _tell, _log = tell, log
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    importlib.import_module("benchmark.execution.preloaded")  # now, before the time of a first run counts


def set_environment(variables: Mapping[str, str]) -> None:
    """Give this process, which may have been forked from one with another environment, these variables instead of its.

    Of the variables that count from a program's start only, those stay that its program was started with.
    """
    counting = {name: value for name, value in os.environ.items() if name in WORKER_VARIABLES}
    os.environ.clear()
    os.environ.update({name: value for name, value in variables.items() if name not in WORKER_VARIABLES})
    os.environ.update(counting)


def end_with_parent() -> None:
    """End this process, whatever it does, as soon as the process that started it is gone.

    Also when it was forked from another one for that and this other is gone, which alone could tell how it ended.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("only for a process that multiprocessing started")
    watched = [parent.sentinel]
    with suppress(AttributeError, OSError):  # not Linux, or one older than 5.3
        watched.append(os.pidfd_open(os.getppid()))

    def watch() -> None:
        wait(watched)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def work(spec: RunSpec, context: RunContext) -> Outcome:
    """Execute a run; tell, and log, its start, its epochs and its warnings."""
    from benchmark.training.context import now
    from benchmark.training.run import execute_run

    def on_epoch(epoch: EpochRecord) -> None:
        logger.info(
            "epoch %d, stage %d: training loss %.4f, validation accuracy %.4f, %.1f s of training",
            *(epoch.epoch, epoch.stage, epoch.train_loss, epoch.val_accuracy, epoch.train_seconds),
        )
        _tell(EpochDone(spec.id, epoch))

    if _log is not None:
        os.truncate(_log, 0)
    logger.info("%s started in process %d", spec, os.getpid())
    _tell(Started(spec.id, str(spec), sum(stage.epochs for stage in spec.stages), now()))
    with telling_warnings(spec.id, _tell):
        return execute_run(spec, context, on_epoch)


@contextmanager
def telling_warnings(run_id: str, tell: Callable[[Event], None]) -> Iterator[None]:
    """Tell the warnings of the benchmark's own log while the block runs."""

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(Warned(run_id, record.getMessage()))

    handler = Teller(logging.WARNING)
    benchmarks = logging.getLogger("benchmark")
    benchmarks.addHandler(handler)
    try:
        yield
    finally:
        benchmarks.removeHandler(handler)
