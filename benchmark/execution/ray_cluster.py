"""Execution of runs on a Ray cluster, or with Ray on this machine only. Needs the extra ``ray``.

One Ray task per run starts the run's process on its node, as `local` does on this machine, with the same handling of
killed processes, time limits and memory. If a node is lost, Ray starts the task again; the run has the same seed and
gives the same results.

Nodes do not need to share files with the command. Records, predictions, kept weights and exhibits are returned by the
task, and images are prepared on each node, once for all of its runs. Checkpoints are only written on nodes that can
access the command's results folder.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
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

from benchmark.errors import UserError
from benchmark.execution import node
from benchmark.execution.events import Event, Started, Warned
from benchmark.execution.executor import Take, not_done
from benchmark.files import write_atomically
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import Failure
from benchmark.training.context import Outcome, RunContext

MEMORY = 700 << 20
"""Main memory reserved per run on nodes without a GPU, bytes: Python, torch and the libraries they load."""

OBJECT_STORE = 256 << 20
"""Memory for values between processes if Ray is started here, bytes; the rest goes to disk."""

ANSWER = 5.0
"""Time limit to connect to a head, per address of its host name, seconds; Ray itself would try for minutes."""

TICK = 0.25
"""Interval between checks for events, seconds."""

RETRIES = 2
"""Maximum number of restarts of a run after its node was lost."""

WAIT_FOR_NODES = 60.0
"""Time limit to wait for a node that can execute a run, seconds."""


@dataclass(frozen=True)
class RayExecutor:
    """Execute runs on Ray; see `executor.Executor`.

    Attributes:
        address: address of a cluster, or None to start Ray on this machine for this command.
        workers: maximum number of concurrent runs.
        threads: CPU threads per run.
        runs_per_gpu: number of runs that share a GPU.
    """

    address: str | None
    workers: int
    threads: int
    runs_per_gpu: int = 1

    def __call__(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        """Execute runs.

        Raises:
            UserError: the cluster cannot be reached, no node has room for a run, or a node cannot execute runs.
        """
        first = take()
        if first is None:  # there are no runs
            return
        context = replace(node.for_nodes(context), workers=self.workers)
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
                max_calls=0,  # also with GPUs: runs leave nothing behind in the task's process, and libraries load once
                scheduling_strategy="SPREAD",
            )(_work)
            events = _queue(ray)
            start = partial(task.remote, context, timeout, Path.cwd(), Path(mark.name), node.versions(), events)
            command = _Command(ray, share, context, start, events, take, on_event, [first])
            try:
                yield from command.outcomes()
            finally:
                command.stop()


@dataclass(eq=False)
class _Command:
    """The runs of one command.

    Attributes:
        share: resources of a run, see `share_of_a_run`.
        start: starts the task of a run, with the ``fits`` of `_work`; returns the reference of its value.
        waiting: runs that are taken but not started.
        running: runs by the reference of their task's value.
        started: latest start by run id.
        nodes_seen: monotonic time when a node with room for runs was last seen, seconds.
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
        """Yield the outcomes of runs until all runs are taken and none is active."""
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
        """End active runs; tasks that do not end by themselves end with the connection."""
        for reference in self.running:
            self.ray.cancel(reference)
        if self.running:
            self.ray.wait(list(self.running), num_returns=len(self.running), timeout=5)

    def _start_runs(self) -> bool:
        """Start as many runs as fit; return whether there may be more."""
        fits = room(self.ray.nodes(), self.share)
        if fits:
            self.nodes_seen = time.monotonic()
        elif time.monotonic() - self.nodes_seen > WAIT_FOR_NODES:
            needs = ", ".join(f"{name} {amount:g}" for name, amount in self.share.items())
            raise UserError(
                f"--executor ray: no node of the cluster has room for a run, which needs {needs}. Reduce threads or "
                "add nodes. Finished runs are kept."
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
                    self.on_event(Warned(event.run_id, f"{event.spec}: its node was lost; the run starts again"))
                self.started[event.run_id] = event
            self.on_event(event)

    def _outcome(self, reference: Any, spec: RunSpec) -> Outcome:
        """Write a run's kept weights and return its outcome."""
        errors = self.ray.exceptions
        status: Failure = "killed"
        try:
            outcome, weights = self.ray.get(reference)
        except errors.RayTaskError as error:  # not an error of the run, which would be in its record
            if isinstance(error.cause, UserError):
                raise error.cause from None
            why = f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
            raise UserError(f"--executor ray: a node cannot execute runs ({why}). Finished runs are kept.") from error
        except errors.OutOfMemoryError:
            status, reason = "oom", "Ray ended it because its node's memory was nearly full"
        except errors.RayError as error:
            reason = f"its node was lost {RETRIES + 1} times: {error}".splitlines()[0]
        else:
            for name, content in weights.items():
                write_atomically(self.context.weights_folder / name, content)
            return Outcome(**vars(outcome))
        return not_done(spec, self.started.get(spec.id), status, reason)


def _queue(ray: Any) -> Any:
    """Return a queue for events on this node; if Ray ends it to free memory, it is restarted empty."""
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
    """Execute a run on this node; return its outcome and the files of ``keep_weights`` by name.

    Args:
        context: with absolute paths; its ``workers`` are the concurrent runs on all nodes.
        timeout: seconds per run, or None.
        cwd: working folder of the command, for relative paths, on nodes that have it.
        mark: file that exists on nodes with the command's results folder.
        expected: `node.versions` of the command.
        events: queue for the run's events.
        spec: the run.
        fits: see `room`.

    Raises:
        UserError: this node has other versions, so its results would not be comparable.
    """
    import ray

    node.prepare("ray", cwd, expected)
    vars(sys.modules["__main__"]).pop("__file__", None)  # Ray's main program, which the run's process would also import
    workers = min(fits.get(ray.get_runtime_context().get_node_id(), 1), context.workers)
    with tempfile.TemporaryDirectory(prefix="benchmark-ray-") as name:
        weights = Path(name) / "weights"
        here = replace(context, weights_folder=weights, workers=workers)
        if not mark.is_file():
            here = replace(here, checkpoints=None, exhibits=context.exhibits and Path(name) / "exhibits")
        outcome = node.execute(spec, here, timeout, events.put)
        return outcome, {file.name: file.read_bytes() for file in sorted(weights.glob("*"))}


def share_of_a_run(nodes: Sequence[Mapping[str, Any]], threads: int, runs_per_gpu: int) -> dict[str, float]:
    """Return the Ray resources of a run: part of a GPU if any living node has one, else main memory."""
    on_gpus = any(node["Alive"] and node["Resources"].get("GPU") for node in nodes)
    return {"CPU": threads, "GPU": 1 / runs_per_gpu} if on_gpus else {"CPU": threads, "memory": MEMORY}


def room(nodes: Sequence[Mapping[str, Any]], share: Mapping[str, float]) -> dict[str, int]:
    """Return the number of concurrent runs of each living node by its id; nodes without room are left out.

    Args:
        nodes: as listed by ``ray.nodes()``.
        share: resources of one run.
    """
    fits = {
        str(node["NodeID"]): min(int(node["Resources"].get(name, 0) / amount + 1e-6) for name, amount in share.items())
        for node in nodes
        if node["Alive"]
    }
    return {node: number for node, number in fits.items() if number}


def import_ray() -> Any:
    """Return the module ``ray``, with usage reports and endless retries of runs out of memory disabled.

    Raises:
        UserError: Ray is not installed.
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
    """Check that a cluster's head accepts a connection; ``auto`` and addresses without a port are left to Ray.

    Args:
        address: value of ``--ray-address``, ``HOST:PORT``.

    Raises:
        UserError: no connection is accepted within `ANSWER` seconds.
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
        f"{where}: no Ray cluster can be reached there ({why}). Start the head with 'ray start --head', and run this "
        "command on a node of the cluster. If the cluster uses a token, also set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN here."
    )


def _job_config(ray: Any) -> Any:
    """Return a configuration with which Ray's workers find this package, but no modules of the working folder.

    Ray would search that folder first, unless it believes that it has distributed a working folder itself.
    """
    checkout = Path(__file__).parents[2]
    places = [str(checkout)] if (checkout / "pyproject.toml").is_file() else []
    config = ray.job_config.JobConfig(_py_driver_sys_path=places)
    config._runtime_env_has_working_dir = lambda: True
    return config


@contextlib.contextmanager
def connected(address: str | None, cpus: int) -> Iterator[Any]:
    """Connect to a cluster, or run Ray only on this machine, during the block; yield the module ``ray``.

    Args:
        address: value of ``--ray-address``, or None to start Ray.
        cpus: number of processors if Ray is started, which may exceed the machine's.

    Raises:
        UserError: Ray is not installed, or no cluster can be reached at the address.
    """
    ray = import_ray()
    if address:
        require_answer(address)
    handler = signal.getsignal(signal.SIGTERM)
    started = {} if address else {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    config = _job_config(ray)
    try:
        ray.init(
            address=address or "local", job_config=config, log_to_driver=False, logging_level=logging.ERROR, **started
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _unreachable(f"--ray-address {address}" if address else "--executor ray", error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray installs its own handler
    try:
        yield ray
    finally:
        ray.shutdown()
