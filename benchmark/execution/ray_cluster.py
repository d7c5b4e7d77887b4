"""Execute runs on a Ray cluster, or on a Ray of this machine alone. Needs the extra ``ray``.

A Ray task per run starts the run's process on its node, as `local` does here, and waits for it: a killed process, a
time limit and memory that runs out end as on this machine. A task that ends without its run has lost its node, and is
started again by Ray, with the same seed, to the same end.

No file has to be shared with the command: records, predictions, kept weights and exhibits come back as the task's
value, and images are prepared on each node, once for all of its runs. Checkpoints are kept only where a node sees the
command's results folder.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark import environment
from benchmark.errors import UserError
from benchmark.execution.events import Event, Started, Warned
from benchmark.execution.executor import Take
from benchmark.execution.local import LocalExecutor
from benchmark.files import write_atomically
from benchmark.matrix.run_spec import RunSpec
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records.record import Failure, UnfinishedRun
from benchmark.training.context import Outcome, RunContext, load_run_images, now

MEMORY = 700 << 20
"""Bytes of main memory reserved per run on nodes without a GPU: Python, torch and what they load."""

OBJECT_STORE = 256 << 20
"""Bytes that a Ray started here keeps in memory of what travels between processes; more of it goes to the disk."""

ANSWER = 5.0
"""Seconds that a head has to accept a connection, per address of its name; Ray itself would try for minutes."""

TICK = 0.25
"""Seconds between looks at events."""

RETRIES = 2
"""How often a run starts again whose node is lost."""

WAIT_FOR_NODES = 60.0
"""Seconds to wait for a node when the cluster has lost all that take a run."""


@dataclass(frozen=True)
class RayExecutor:
    """Execute runs on Ray; see `interface.Executor`.

    Attributes:
        address: of a cluster, or None to start a Ray here, for this command.
        workers: runs at a time, at most.
        threads: CPU threads per run.
        runs_per_gpu: runs that share a GPU.
    """

    address: str | None
    workers: int
    threads: int
    runs_per_gpu: int = 1

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs; see `interface.Executor`.

        Raises:
            UserError: there is no cluster, no node takes a run, or a node cannot execute runs.
        """
        first = take()
        if first is None:  # nothing to start a cluster for
            return
        context = replace(
            context,
            workers=self.workers,
            weights_folder=context.weights_folder.absolute(),
            data_dir=context.data_dir and context.data_dir.expanduser().absolute(),
            checkpoints=context.checkpoints and context.checkpoints.absolute(),
            exhibits=context.exhibits and context.exhibits.absolute(),
        )
        results = context.weights_folder.parent
        results.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(prefix=".shared-", dir=results) as mark,
            connected(self.address, self.workers * self.threads) as ray,
        ):
            share = share_of_a_run(ray.nodes(), self.threads, self.runs_per_gpu)
            task = ray.remote(
                num_cpus=share["CPU"],
                num_gpus=share.get("GPU", 0),
                memory=share.get("memory"),
                max_retries=RETRIES,
                max_calls=0,  # also with GPUs: nothing of a run stays in the task's process, and libraries load once
                scheduling_strategy="SPREAD",
            )(_work)
            events = _queue(ray)
            start = partial(task.remote, context, timeout, Path.cwd(), Path(mark.name), versions(), events)
            command = _Command(ray, share, context, start, events, take, on_event, [first])
            try:
                yield from command.outcomes()
            finally:
                command.stop()


@dataclass(eq=False)
class _Command:
    """The runs of one command.

    Attributes:
        share: of a run, see `share_of_a_run`.
        start: starts a task of a run, given ``fits`` of `_work`; returns the reference of its value.
        events: queue of the runs' events.
        waiting: runs taken and not started.
        running: by the reference of their task's value.
        started: latest starts by the run's id.
        nodes_seen: time on this process's clock when a node that takes runs was last seen.
    """

    ray: Any
    share: Mapping[str, float]
    context: RunContext
    start: Callable[[RunSpec, Mapping[str, int]], Any]
    events: Any
    take: Take
    on_event: Callable[[Event], None]
    waiting: list[RunSpec]
    running: dict[Any, RunSpec] = field(default_factory=dict)
    started: dict[str, Started] = field(default_factory=dict)
    nodes_seen: float = -math.inf

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcomes of runs until there are none to take and none under way."""
        while self._start_runs() or self.running:
            ready = []
            if self.running:
                ready, _ = self.ray.wait(list(self.running), timeout=TICK)
            else:
                time.sleep(TICK)
            self._pass_on_events()
            ended = [self._outcome(reference, self.running.pop(reference)) for reference in ready]
            self._start_runs()  # before the caller takes its time to write the outcomes
            yield from ended

    def stop(self) -> None:
        """End the runs under way; tasks that do not end by themselves end with the connection."""
        for reference in self.running:
            self.ray.cancel(reference)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=5)

    def _start_runs(self) -> bool:
        """Start runs where there is room; return whether there may be more.

        Raises:
            UserError: no node takes a run.
        """
        fits = room(self.ray.nodes(), self.share)
        if fits:
            self.nodes_seen = time.monotonic()
        elif time.monotonic() - self.nodes_seen > WAIT_FOR_NODES:
            needs = ", ".join(f"{name} {amount:g}" for name, amount in self.share.items())
            raise UserError(
                f"--executor ray: no node of the cluster takes a run, which needs {needs}. Lower threads, or add "
                "nodes; what is done is kept."
            )
        while len(self.running) < min(sum(fits.values()), self.context.workers):
            spec = self.waiting.pop() if self.waiting else self.take()
            if spec is None:
                return False
            self.running[self.start(spec, fits)] = spec
        return True

    def _pass_on_events(self) -> None:
        for event in self.events.get_nowait_batch(self.events.qsize()):
            if isinstance(event, Started):
                if event.run_id in self.started:
                    self.on_event(Warned(event.run_id, f"{event.title}: its node was lost; it starts again"))
                self.started[event.run_id] = event
            self.on_event(event)

    def _outcome(self, reference: Any, spec: RunSpec) -> Outcome:
        """Return how a run ended, with its kept weights written.

        Raises:
            UserError: a node cannot execute runs.
        """
        errors = self.ray.exceptions
        status: Failure = "killed"
        try:
            outcome, weights = self.ray.get(reference)
        except errors.RayTaskError as error:  # not of the run itself, whose errors are in its record
            if isinstance(error.cause, UserError):
                raise error.cause from None
            why = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            raise UserError(f"--executor ray: a node cannot execute runs ({why}). What is done is kept.") from error
        except errors.OutOfMemoryError:
            status, reason = "oom", "Ray ended it because its node's memory was nearly full"
        except errors.RayError as error:
            reason = f"{RETRIES + 1} times its node was lost: {error}".splitlines()[0]
        else:
            for name, content in weights.items():
                write_atomically(self.context.weights_folder / name, content)
            return Outcome(**vars(outcome))
        began = self.started[spec.id].at if spec.id in self.started else now()
        record = UnfinishedRun(id=spec.id, status=status, reason=reason, spec=spec, started_at=began, finished_at=now())
        return Outcome(record)


def _queue(ray: Any) -> Any:
    """Return a queue for events on this node; Ray starts it again, empty, if it ends it to free memory."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(str(ray.get_runtime_context().get_node_id()), soft=False)
    return Queue(actor_options={"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here})


def _work(
    context: RunContext,
    timeout: float | None,
    cwd: Path,
    mark: Path,
    expected: Mapping[str, str],
    events: Any,
    spec: RunSpec,
    fits: Mapping[str, int],
) -> tuple[Outcome, dict[str, bytes]]:
    """Execute a run on this node; return its outcome, and the files of ``keep_weights`` by name.

    Args:
        context: with absolute paths; its ``workers`` are the runs at a time on all nodes.
        timeout: seconds per run, or None.
        cwd: the command's working folder, where relative paths start, on nodes that have it.
        mark: a file by which a node sees whether it has the command's results folder.
        expected: the command's `versions`.
        events: queue for the run's events.
        spec: the run.
        fits: runs that each node takes at a time, by its id.

    Raises:
        UserError: this node has other versions than the command's.
    """
    import ray

    require_equal_versions(expected)
    vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's program, which the run's process would import too
    with contextlib.suppress(OSError):
        os.chdir(cwd)
    with contextlib.suppress(Exception):  # before its time counts; the run meets the error again, and records it
        load_run_images(spec, context.data_dir)
    workers = min(fits.get(ray.get_runtime_context().get_node_id(), 1), context.workers)
    with tempfile.TemporaryDirectory(prefix="benchmark-ray-") as name:
        weights = Path(name) / "weights"
        here = replace(context, weights_folder=weights, workers=workers)
        if not mark.is_file():
            here = replace(here, checkpoints=None, exhibits=context.exhibits and Path(name) / "exhibits")
        runs = iter([spec])
        (outcome,) = LocalExecutor(1, ())(lambda: next(runs, None), here, timeout, events.put)
        return outcome, {file.name: file.read_bytes() for file in sorted(weights.glob("*"))}


def versions() -> dict[str, str]:
    """Return what decides results on this machine: the protocol, the libraries, the package's revision."""
    commit, dirty = environment.git_revision()
    return {
        "protocol": str(PROTOCOL_VERSION),
        **environment.package_versions(),
        "revision": "unknown" if commit is None else commit + (" with changes" if dirty else ""),
    }


def require_equal_versions(expected: Mapping[str, str]) -> None:
    """Check that results of this node may stand in one table with those of a node with other versions.

    Raises:
        UserError: they may not.
    """
    mine = versions()
    different = [f"{name} {mine.get(name)} (not {each})" for name, each in expected.items() if mine.get(name) != each]
    if different:
        raise UserError(
            f"--executor ray: node {platform.node()} has {', '.join(different)}. Its results could not stand in one "
            "table with this machine's: install the same versions on every node."
        )


def share_of_a_run(nodes: Sequence[Mapping[str, Any]], threads: int, runs_per_gpu: int) -> dict[str, float]:
    """Return what a run takes of Ray's resources: part of a GPU where any living node has one, else main memory."""
    on_gpus = any(node["Alive"] and node["Resources"].get("GPU") for node in nodes)
    return {"CPU": threads, "GPU": 1 / runs_per_gpu} if on_gpus else {"CPU": threads, "memory": MEMORY}


def room(nodes: Sequence[Mapping[str, Any]], share: Mapping[str, float]) -> dict[str, int]:
    """Return how many runs each living node takes at a time, by its id; nodes that take none are left out.

    Args:
        nodes: as ``ray.nodes()`` lists them.
        share: of one run.
    """
    fits = {
        str(node["NodeID"]): min(int(node["Resources"].get(name, 0) / amount + 1e-6) for name, amount in share.items())
        for node in nodes
        if node["Alive"]
    }
    return {node: number for node, number in fits.items() if number}


def import_ray() -> Any:
    """Return the module ``ray``, with its usage reports and its endless retries of runs out of memory switched off.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "--executor ray: Ray is not installed. Install it with pip install 'greyscale-transfer-benchmark[ray]', or "
            "in a clone with pip install -e '.[ray]', on every node."
        ) from None
    return ray


def require_answer(address: str) -> None:
    """Make a plain connection to a cluster's head; ``auto`` and other addresses without a port are left to Ray.

    Args:
        address: ``HOST:PORT``, as given to ``--ray-address``.

    Raises:
        UserError: nothing accepts a connection there within `ANSWER` seconds.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unreachable(f"--ray-address {address}", error) from error


def _unreachable(where: str, error: Exception) -> UserError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"{where}: no Ray can be reached there ({why}). Start the head with 'ray start --head', and run this command "
        "on one of the cluster's nodes. A cluster with a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
    )


@contextlib.contextmanager
def connected(address: str | None, cpus: int) -> Iterator[Any]:
    """Join a cluster, or start a Ray of this machine alone, while the block runs; yield the module ``ray``.

    Args:
        address: of the cluster, as given to ``--ray-address``, or None to start one.
        cpus: processors of a Ray that is started; more than there are where the user asks for them.

    Raises:
        UserError: Ray is not installed, or no cluster is at the address.
    """
    ray = import_ray()
    if address:
        require_answer(address)
    handler = signal.getsignal(signal.SIGTERM)
    started = {} if address else {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _unreachable(f"--ray-address {address}" if address else "--executor ray", error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
    try:
        yield ray
    finally:
        ray.shutdown()
