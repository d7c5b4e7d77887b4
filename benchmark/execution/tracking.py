"""Copies of runs for experiment trackers, through the trackers of accelerate.

Each run has a separate process, which a tracker's library cannot leave: a tracker that fails or does not answer costs a
warning, and no run waits for it. Files are in the results folder's ``tracking/``; nothing reads them back.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import re
import selectors
from collections.abc import Mapping
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from benchmark.errors import UserError
from benchmark.execution.claims import Watcher
from benchmark.execution.events import EpochDone, Event, Started, Warned
from benchmark.execution.place import TrackerName
from benchmark.execution.side_process import Child, ChildEndedError
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import EpochRecord, FinishedRun, RunRecord

FOLDER = "tracking"

PATIENCE = 20.0
"""Time for a tracker to write what it has when its run or the command ends, seconds."""

Value: TypeAlias = float | int | str | bool


class _Logged(NamedTuple):
    """Values at a step, in epochs."""

    values: dict[str, Value]
    step: int


def require_tracker(name: TrackerName) -> None:
    """Check that a tracker's library is installed.

    Raises:
        UserError: it is missing.
    """
    if importlib.util.find_spec(name) is None:
        raise UserError(
            f"--track {name}: {name} is not installed. Install it with pip install "
            f"'greyscale-transfer-benchmark[{name}]', or in a clone with pip install -e '.[{name}]'."
        )


class TrackedRuns:
    """Watcher of runs (`claims.Watcher`) that passes on everything and gives a tracker its copy.

    A run's project is the matrix; its name is its title and id. Logged are the losses and scores of each epoch by
    the names of `EpochRecord`, and when the run is done, the names and values of its test scores with ``test_`` before.

    Args:
        watcher: the watcher that is passed on to.
        name: the tracker.
        matrix: the matrix of the runs.
        folder: the results folder.
    """

    def __init__(self, watcher: Watcher, name: TrackerName, matrix: Matrix, folder: Path) -> None:
        self._watcher, self._name, self._matrix = watcher, name, matrix
        self._folder = (folder / FOLDER).absolute()
        self._active: dict[str, _TrackedRun] = {}
        self._has_failed = False

    def __enter__(self) -> TrackedRuns:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for run_id in list(self._active):
            self._close(run_id)

    def event(self, event: Event) -> None:
        """Handle an event of a worker."""
        self._watcher.event(event)
        if isinstance(event, Started) and event.run_id not in self._active and not self._has_failed:
            title = f"{self._matrix.title(event.spec)} {event.run_id}"
            self._active[event.run_id] = _TrackedRun(self._name, self._matrix.name, title, self._folder, event.spec)
        if isinstance(event, EpochDone):
            self._log(event.run_id, _of_epoch(event.epoch))

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Handle the end of a run, here or in another process."""
        self._watcher.finished(record, elsewhere=elsewhere)
        if isinstance(record, FinishedRun):
            for epoch in record.history:  # of a run that was resumed, those before too
                self._log(record.id, _of_epoch(epoch))
            if test := getattr(record, "test", None):
                scores = {f"test_{name}": value for name, value in test.model_dump().items() if value is not None}
                self._log(record.id, _Logged(scores, record.best_epoch))
        if record.id in self._active:
            self._close(record.id)

    def waiting(self, runs: int) -> None:
        """Handle the state in which all remaining runs belong to other processes."""
        self._watcher.waiting(runs)

    def _log(self, run_id: str, logged: _Logged) -> None:
        if run_id in self._active and not self._active[run_id].log(logged):
            self._fail(run_id, self._active.pop(run_id).end(0))

    def _close(self, run_id: str) -> None:
        if problem := self._active.pop(run_id).end(PATIENCE):
            self._fail(run_id, problem)

    def _fail(self, run_id: str, problem: str | None) -> None:
        if not self._has_failed:
            self._has_failed = True
            why = problem or "it does not take more values"
            self._watcher.event(Warned(run_id, f"--track {self._name}: {why}. Runs continue and are not tracked."))
        for other in list(self._active):
            self._active.pop(other).end(0)


class _TrackedRun:
    """A run and its tracker's process."""

    def __init__(self, name: TrackerName, project: str, title: str, folder: Path, spec: RunSpec) -> None:
        reader, self._writer = multiprocessing.Pipe(duplex=False)
        with reader:
            call = partial(_track, reader, name, project, title, folder, _settings(spec))
            self._child = Child(call, {"TRACKIO_DIR": str(folder / "trackio")})
        self._steps: set[tuple[int, bool]] = set()

    def log(self, logged: _Logged) -> bool:
        """Pass values on, unless those of this step have been; return whether the process takes them.

        It never waits: a pipe that is ready takes `PIPE_BUF` bytes (pipe(7)), and a message has fewer.
        """
        step = logged.step, any(name.startswith("test_") for name in logged.values)
        if step in self._steps:
            return True
        self._steps.add(step)
        with selectors.DefaultSelector() as selector:
            selector.register(self._writer, selectors.EVENT_WRITE)
            if not selector.select(timeout=0):
                return False
        try:
            self._writer.send(logged)
        except OSError:  # it has ended
            return False
        return True

    def end(self, patience: float) -> str | None:
        """End the process after it has written what it has; return what went wrong, or None."""
        self._writer.close()
        Child.wait([self._child], patience)
        list(self._child.received())
        is_over = self._child.is_over
        self._child.end()
        if not is_over:
            return f"it did not end within {patience:g} seconds" if patience else None
        try:
            self._child.result()
        except ChildEndedError as error:
            return f"its process ended with exit code {error.code}"
        except Exception as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def _settings(spec: RunSpec) -> dict[str, Value]:
    """Return a run's specification, with everything that is not a number, a text or a truth value as JSON."""
    fields = spec.model_dump(mode="json")
    return {name: each if isinstance(each, Value) else json.dumps(each) for name, each in fields.items()}


def _of_epoch(epoch: EpochRecord) -> _Logged:
    values = epoch.model_dump(exclude={"epoch"})
    return _Logged({name: value for name, value in values.items() if value is not None}, epoch.epoch)


def _track(
    reader: Connection,
    name: TrackerName,
    project: str,
    title: str,
    folder: Path,
    settings: Mapping[str, Value],
    send: object,
) -> None:
    """Pass on what arrives until the other side is closed; executed in the run's tracker process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)  # libraries greet
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker, TrackioTracker

    PartialState(cpu=True)  # which the trackers ask for; GPUs are left to the runs
    tracker: Any
    if name == "tensorboard":
        tracker = TensorBoardTracker(re.sub(r"[^\w.-]+", "-", title), folder / name)
    else:
        tracker = TrackioTracker(project, name=title)
    tracker.start()
    tracker.store_init_configuration(dict(settings))
    try:
        while True:
            logged: _Logged = reader.recv()
            tracker.log(logged.values, step=logged.step)
    except EOFError:
        tracker.finish()
