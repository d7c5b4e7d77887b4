"""Runs executed on a Ray cluster, or on a Ray of this machine's own.

Workers are Ray actors that live on from run to run, one for each run that the cluster has room for; the command gives
them runs, and gets back records, predictions and kept weights. A run whose worker dies is recorded as ``killed``, as
locally. A run whose *node* is lost starts again on another node, from its last checkpoint where both nodes see the
command's results folder, else from its beginning: with the same seed, to the same end.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark import environment
from benchmark.errors import UserError
from benchmark.executors.events import Event, Started
from benchmark.executors.interface import Take
from benchmark.executors.ray_losses import LostRuns, on_node
from benchmark.executors.ray_nodes import Share, connected, room, share_of_a_run
from benchmark.executors.ray_worker import About, Events, RayWorker, Returned, Tell, versions
from benchmark.files import write_atomically
from benchmark.matrix import RunSpec
from benchmark.run_context import Outcome, RunContext

LIBRARIES = 700 << 20
"""Bytes that a worker takes before its first run: Python, torch and what they load."""

TICK = 0.25
"""Seconds between looks at events and times."""

STARTS = 3
"""How many workers may fail to start, one after the other, before the command gives up."""

WAIT_FOR_NODES = 60.0
"""Seconds that the command waits for a node when the cluster has none left that takes a run."""


@dataclass(eq=False)
class _Place:
    """A worker, and the run that it executes."""

    actor: Any
    answer: Any
    """Reference of what is awaited: its introduction, then each run's `Returned`."""
    about: About | None = None
    spec: RunSpec | None = None
    started: Started | None = None
    since: float | None = None
    """When its run started, on this process's clock."""


@dataclass(frozen=True)
class RayExecutor:
    """Executes runs on Ray; see `interface.Executor`.

    Attributes:
        address: of a cluster; None: a Ray is started here, for this command.
        workers: runs at a time, at most.
        threads: CPU threads a run.
        runs_per_gpu: runs that share a GPU.
        memory: bytes of main memory that a run takes; 0: unknown.
    """

    address: str | None
    workers: int
    threads: int
    runs_per_gpu: int = 1
    memory: int = 0

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs; see `interface.Executor`.

        Raises:
            UserError: there is no cluster, no node takes a run, or a node has other versions than this one.
        """
        first = take()
        if first is None:  # nothing to start a cluster for
            return
        results = context.weights_folder.parent.absolute()
        context = replace(
            context,
            data_dir=context.data_dir and context.data_dir.expanduser().absolute(),
            checkpoints=context.checkpoints and context.checkpoints.absolute(),
            exhibits=context.exhibits and context.exhibits.absolute(),
        )
        with _marked(results) as mark, connected(self.address, self.workers * self.threads) as ray:
            share = share_of_a_run(ray.nodes(), self.threads, self.runs_per_gpu, self.memory)
            driver = _Driver(ray, share, self.workers, context, timeout, on_event, (results, mark))
            driver.lost.again.append(first)
            try:
                yield from driver.outcomes(take)
            finally:
                driver.stop()


@contextmanager
def _marked(results: Path) -> Iterator[str]:
    """Put a file into a folder by which workers see whether it is the same where they are; gives its name."""
    mark = f".shared-{uuid.uuid4().hex}"
    write_atomically(results / mark, b"")
    try:
        yield mark
    finally:
        (results / mark).unlink(missing_ok=True)


@dataclass(eq=False)
class _Driver:
    ray: Any
    share: Share
    most: int
    context: RunContext
    timeout: float | None
    on_event: Callable[[Event], None]
    folder: tuple[Path, str]
    """The results folder, and the file in it by which workers know it."""
    places: list[_Place] = field(default_factory=list)
    capacity: dict[str, int] = field(default_factory=dict)
    failed_starts: int = 0
    without_nodes: float | None = None

    def __post_init__(self) -> None:
        events = self.ray.remote(Events)
        here = str(self.ray.get_runtime_context().get_node_id())
        self.events = events.options(num_cpus=0, scheduling_strategy=on_node(here)).remote()
        self.lost = LostRuns(self.ray, self.on_event)

    def outcomes(self, take: Take) -> Iterator[Outcome]:
        """Yield the outcomes of runs until there are none to take and none under way."""
        while True:
            more = self._give(take)
            if not more and not self.lost.awaited and not any(place.spec for place in self.places):
                return
            if more:
                self._start_workers()
            self._wait()
            self._pass_on_events()
            ended = self._answers()
            self._end_late_runs()
            ended += self.lost.outcomes()
            self._give(take)  # before the caller takes its time to write the outcomes
            yield from ended

    def stop(self) -> None:
        """End every worker and delete what they keep on their nodes."""
        folders = [(place.about.node, place.about.folder) for place in self.places if place.about]
        for place in self.places:
            self.ray.kill(place.actor, no_restart=True)
        asked = [self.lost.clear_up(node, folder) for node, folder in folders]
        if asked:
            self.ray.wait(asked, num_returns=len(asked), timeout=2)

    def _room(self) -> int:
        """Return how many workers to have, waiting for nodes where all are lost.

        Raises:
            UserError: no node takes a run.
        """
        self.capacity = room(self.ray.nodes(), self.share)
        number = sum(self.capacity.values())
        if number:
            self.without_nodes = None
            return min(number, self.most)
        waited = 0.0 if self.without_nodes is None else time.monotonic() - self.without_nodes
        if self.without_nodes is None and self.lost.nodes:
            self.without_nodes = time.monotonic()
        if not self.lost.nodes or waited > WAIT_FOR_NODES:
            needs = [f"{self.share.cpus} CPUs"]
            needs += [f"{self.share.gpus:g} of a GPU"] if self.share.gpus else []
            needs += [f"{self.share.memory >> 20:,} MB"] if self.share.memory else []
            raise UserError(
                f"--executor ray: no node of the cluster takes a run, which needs {' and '.join(needs)}. Lower threads "
                "or training.batch_size, or add nodes; what is done is kept."
            )
        return 0

    def _start_workers(self) -> None:
        for _ in range(self._room() - len(self.places)):
            worker = self.ray.remote(RayWorker).options(
                **self.share.options(),
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
                runtime_env={"env_vars": environment.worker_variables()},
            )
            actor = worker.remote(Tell(self.events), Path.cwd(), *self.folder)
            self.places.append(_Place(actor, actor.about.remote()))

    def _give(self, take: Take) -> bool:
        """Give runs to idle workers; return whether there may be more runs than workers."""
        for place in self.places:
            if place.about is not None and place.spec is None:
                spec = self.lost.again.pop(0) if self.lost.again else take()
                if spec is None:
                    return False
                beside = min(self.capacity.get(place.about.node, 1), self.most)
                place.spec, place.started, place.since = spec, None, None
                place.answer = place.actor.work.remote(spec, replace(self.context, workers=beside))
        return True

    def _wait(self) -> None:
        awaited = [place.answer for place in self.places if place.answer is not None]
        awaited += self.lost.awaited
        if awaited:
            self.ray.wait(awaited, timeout=TICK)
        else:
            time.sleep(TICK)

    def _pass_on_events(self) -> None:
        for event in self.ray.get(self.events.take.remote()):
            if isinstance(event, Started):
                for place in self.places:
                    if place.spec is not None and place.spec.id == event.run_id:
                        place.started, place.since = event, time.monotonic()
            self.on_event(event)

    def _is_ready(self, reference: Any) -> bool:
        return bool(self.ray.wait([reference], timeout=0)[0])

    def _answers(self) -> list[Outcome]:
        """Return the outcomes that have come; take in new workers, and note those that are gone."""
        from ray.exceptions import RayError

        found = []
        for place in [place for place in self.places if place.answer is not None and self._is_ready(place.answer)]:
            try:
                answer: About | Returned = self.ray.get(place.answer)
            except RayError as error:
                self._lose(place, error)
                continue
            place.answer = None
            if isinstance(answer, About):
                self._require_equal_versions(answer)
                place.about, self.failed_starts = answer, 0
            else:
                for name, content in answer.weights.items():
                    write_atomically(self.context.weights_folder / name, content)
                place.spec = None
                found.append(answer.outcome)
        return found

    def _require_equal_versions(self, about: About) -> None:
        mine = versions()
        different = [f"{name} {about.versions.get(name)} (here {mine[name]})" for name in mine]
        different = [text for text, name in zip(different, mine, strict=True) if about.versions.get(name) != mine[name]]
        if different:
            raise UserError(
                f"--executor ray: node {about.host} has {', '.join(different)}. Their results could not stand in one "
                "table: install the same versions on every node."
            )

    def _lose(self, place: _Place, error: Exception) -> None:
        """Note that a worker is gone, and ask its node for its last lines."""
        from ray.exceptions import ActorUnavailableError, OutOfMemoryError

        self.places.remove(place)
        with suppress(Exception):  # it may be gone already
            self.ray.kill(place.actor, no_restart=True)
        if place.about is None:
            self.failed_starts += 1
            if self.failed_starts >= STARTS:
                raise UserError(f"--executor ray: workers do not start: {str(error).strip()}") from error
            return
        if place.spec is None:
            return
        if isinstance(error, OutOfMemoryError) or "running low on memory" in str(error):
            reason = f"Ray ended its worker on {place.about.host}, whose memory was nearly full"
            self.lost.worker_ended(place.spec, place.about, place.started, "oom", reason)
        else:
            told = not isinstance(error, ActorUnavailableError)
            self.lost.worker_died(place.spec, place.about, place.started, told_by_its_node=told)

    def _end_late_runs(self) -> None:
        """End the workers whose runs have exceeded their time."""
        for place in list(self.places):
            if self.timeout is None or place.since is None or place.spec is None or place.about is None:
                continue
            if time.monotonic() - place.since > self.timeout:
                self.places.remove(place)
                self.ray.kill(place.actor, no_restart=True)
                reason = f"exceeded its time of {self.timeout:g} s"
                self.lost.worker_ended(place.spec, place.about, place.started, "timeout", reason)
