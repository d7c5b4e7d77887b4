"""A worker on a node of a Ray cluster: executes one run after another, and sends back all that a run leaves.

Ray makes an actor of `RayWorker`. No file has to be shared with the command: weights come back as bytes, and images are
prepared on the node, once for all of its workers. Checkpoints are kept where the worker sees the command's results
folder, as on one machine or on a shared file system, and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import PROTOCOL_VERSION, environment
from benchmark.executors import worker
from benchmark.executors.events import Event, Started
from benchmark.executors.worker_log import last_lines
from benchmark.matrix import RunSpec
from benchmark.run_context import Outcome, RunContext, open_images


@dataclass(frozen=True)
class About:
    """A worker, as it introduces itself.

    Attributes:
        node: Ray's id of its node.
        host: the node's name.
        folder: of its own, on the node; holds its log.
        versions: what must be equal to the command's, for results that may stand in one table.
    """

    node: str
    host: str
    folder: Path
    versions: dict[str, str]


@dataclass(frozen=True)
class Returned:
    """What a run sends back.

    Attributes:
        outcome: with the worker's last lines in the record of a run that is not done.
        weights: content of the files of ``keep_weights``, by name.
    """

    outcome: Outcome
    weights: dict[str, bytes]


def versions() -> dict[str, str]:
    """Return what decides results on this machine: the protocol, the libraries, the package's revision."""
    commit, dirty = environment.git_revision()
    return {
        "protocol": str(PROTOCOL_VERSION),
        **environment.package_versions(),
        "revision": "unknown" if commit is None else commit + (" with changes" if dirty else ""),
    }


class Events:
    """Takes what workers tell; lives on the command's node."""

    def __init__(self) -> None:
        self._told: list[Event] = []

    def put(self, event: Event) -> None:
        """Take an event."""
        self._told.append(event)

    def take(self) -> list[Event]:
        """Give the events that have come since this was last called."""
        told, self._told = self._told, []
        return told


class Tell:
    """Gives a worker's events to `Events`; the start of a run is there before the run goes on."""

    def __init__(self, events: Any) -> None:
        self._events = events

    def __call__(self, event: Event) -> None:
        import ray

        told = self._events.put.remote(event)
        if isinstance(event, Started):
            ray.get(told)


class RayWorker:
    """Executes runs in one process.

    Args:
        tell: takes events.
        cwd: the command's working folder, which relative paths start from, on nodes that have it.
        results: the command's results folder.
        mark: a file that the command has put into it, by which a worker sees whether it is the same folder here.
    """

    def __init__(self, tell: Callable[[Event], None], cwd: Path, results: Path, mark: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(cwd)
        self._folder = Path(tempfile.mkdtemp(prefix="benchmark-ray-"))
        self._shared = (results / mark).is_file()
        worker.begin(tell, self._folder / "log")

    def about(self) -> About:
        """Introduce itself."""
        import ray

        return About(ray.get_runtime_context().get_node_id(), platform.node(), self._folder, versions())

    def work(self, spec: RunSpec, context: RunContext) -> Returned:
        """Execute a run; what is missing on this node is fetched and decoded before its time begins to count."""
        with contextlib.suppress(Exception):  # the run meets it again, and records it
            open_images(spec, context.data_dir)
        weights = self._folder / "weights"
        here = replace(context, weights_folder=weights)
        if not self._shared:
            here = replace(here, checkpoints=None, exhibits=context.exhibits and self._folder / "exhibits")
        outcome = worker.work(spec, here)
        kept = {file.name: file.read_bytes() for file in sorted(weights.glob("*"))} if weights.is_dir() else {}
        shutil.rmtree(weights, ignore_errors=True)
        if outcome.record.status != "done":
            record = outcome.record.model_copy(update={"log": last_lines(self._folder / "log")})
            outcome = replace(outcome, record=record)
        return Returned(outcome, kept)
