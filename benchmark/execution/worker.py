"""Execution of a run in its process, which sends events and writes a log.

Torch is not imported here, because that takes seconds, and the process must first be set up to end with its parent.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.execution.events import EpochDone, Event, Started, Warned
from benchmark.matrix.run_spec import RunSpec

if TYPE_CHECKING:
    from benchmark.records.record import EpochRecord
    from benchmark.training.context import Outcome, RunContext

LAST_LINES = 30
"""Number of log lines in the record of a run that is not done."""

LONGEST_TAIL = 20_000
"""Bytes read from the end of a log for these lines."""

logger = logging.getLogger(__name__)


def work(log: Path, spec: RunSpec, context: RunContext, send: Callable[[Event], None]) -> Outcome:
    """Execute a run; send and log its start, epochs and warnings.

    Args:
        log: file for all output of this process and its libraries.
        spec: the run.
        context: environment of the run.
        send: called with the run's events.
    """
    _print_into(log)
    importlib.import_module("benchmark.execution.preloaded")  # before the time limit of the run starts
    from benchmark.training.context import now
    from benchmark.training.run import execute_run

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            send(Warned(spec.id, record.getMessage()))

    def on_epoch(epoch: EpochRecord) -> None:
        trained = "" if epoch.train_loss is None else f"training loss {epoch.train_loss:.4f}, "
        logger.info(
            "epoch %d, stage %d: %svalidation accuracy %.4f, %.1f s of training",
            *(epoch.epoch, epoch.stage, trained, epoch.val_accuracy, epoch.train_seconds),
        )
        send(EpochDone(spec.id, epoch))

    logger.info("%s started in process %d", spec, os.getpid())
    send(Started(spec.id, spec, sum(stage.epochs for stage in spec.stages), now()))
    logging.getLogger("benchmark").addHandler(Warnings(logging.WARNING))
    return execute_run(spec, context, on_epoch)


def _print_into(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log; empty if the file is missing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]
