"""Runs on Ray end as they do on this machine's own workers, also when nodes and workers are lost on the way."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.execution.events import EpochDone, Event, Warned
from benchmark.execution.ray_cluster import MEMORY, RayExecutor, import_ray, room, share_of_a_run
from tests.factories import context, decided, kept_weights, outcomes, run_locally, tiny_runs

STORE = 80 << 20


@pytest.fixture
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """Give a cluster of two nodes with a processor each, on this machine, and the node that can be lost."""
    import_ray()
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    node: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(**node)
    finally:
        cluster.shutdown()


def lose_a_node(two_nodes: tuple[Any, Any], folder: Path) -> None:
    """Execute runs on two nodes, kill one while both are in the middle of a run, and compare with local workers."""
    cluster, node = two_nodes
    runs = tiny_runs(epochs=20, seeds=[0, 1, 2])
    under_way: set[str] = set()
    warnings = []

    def kill_when_both_work(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)
        if isinstance(event, EpochDone) and event.epoch.epoch >= 2 and len(under_way) < 2:
            under_way.add(event.run_id)
            if len(under_way) == 2:
                cluster.remove_node(node, allow_graceful=False)

    on_ray, here = context(folder / "ray"), context(folder / "local", workers=2)
    executor = RayExecutor(cluster.address, workers=2, threads=1)
    found = outcomes(executor, runs, on_ray, on_event=kill_when_both_work)
    assert len(warnings) == 1 and "its node was lost" in warnings[0]
    expected = outcomes(run_locally, runs, here)
    for run in runs:
        assert decided(found[run.id]) == decided(expected[run.id])
    assert len(kept_weights(on_ray)) == 3
    assert kept_weights(on_ray) == kept_weights(here)
    assert not list((folder / "ray").glob(".shared-*"))


@pytest.mark.slow
def test_a_lost_node_costs_no_run_and_changes_no_bit(two_nodes: tuple[Any, Any], tmp_path: Path) -> None:
    lose_a_node(two_nodes, tmp_path)


@pytest.mark.slow
def test_a_killed_worker_costs_its_run_alone(tmp_path: Path) -> None:
    first, second = tiny_runs(epochs=30)

    def kill_the_first(event: Event) -> None:
        if isinstance(event, EpochDone) and event.run_id == first.id and event.epoch.epoch == 3:
            processes = psutil.Process().children(recursive=True)
            servers = {each.pid for each in processes if "forkserver" in " ".join(each.cmdline())}
            (worker,) = [each for each in processes if each.ppid() in servers]
            worker.send_signal(signal.SIGKILL)

    executor = RayExecutor(None, workers=1, threads=1)
    found = outcomes(executor, [first, second], context(tmp_path), on_event=kill_the_first)
    killed = found[first.id].record
    assert (killed.status, found[second.id].record.status) == ("killed", "done")
    assert killed.reason is not None and "SIGKILL" in killed.reason and killed.log


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources}


NODES = [
    node("small", CPU=1, memory=2 << 30),
    node("large", CPU=8, memory=9 << 30),
    node("head", memory=64 << 30),
    node("dead", alive=False, CPU=64, memory=64 << 30),
]


def test_a_node_takes_as_many_runs_as_its_processors_and_its_memory_allow() -> None:
    assert room(NODES, {"CPU": 1}) == {"small": 1, "large": 8}
    assert room(NODES, {"CPU": 2}) == {"large": 4}
    assert room(NODES, {"CPU": 1, "memory": 2 << 30}) == {"small": 1, "large": 4}
    assert room(NODES, {"CPU": 9}) == {}


@pytest.mark.parametrize("runs_per_gpu", [1, 2, 3, 7])
def test_a_gpu_takes_exactly_the_runs_that_are_packed_onto_it(runs_per_gpu: int) -> None:
    nodes = [*NODES, node("cards", CPU=64, GPU=4)]
    share = share_of_a_run(nodes, threads=1, runs_per_gpu=runs_per_gpu)
    assert room(nodes, share) == {"cards": 4 * runs_per_gpu}


def test_without_a_gpu_a_run_takes_processors_and_memory() -> None:
    assert share_of_a_run(NODES, threads=2, runs_per_gpu=3) == {"CPU": 2, "memory": MEMORY}
    gone = [*NODES, node("lost cards", alive=False, CPU=64, GPU=4)]
    assert "GPU" not in share_of_a_run(gone, threads=2, runs_per_gpu=3)
