"""Runs on Ray end as on local workers, also when nodes and workers are lost; messages if there is no cluster or Ray."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.errors import UserError
from benchmark.execution import ray_cluster
from benchmark.execution.events import EpochDone, Event, Warned
from benchmark.execution.ray_cluster import MEMORY, RayExecutor, import_ray, require_answer, room, share_of_a_run
from tests.factories import context, decided, kept_weights, outcomes, run_locally, tiny_runs

STORE = 80 << 20

WITHOUT_RAY = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")

sys.meta_path.insert(0, Blocker())
from benchmark.errors import UserError
from benchmark.execution.ray_cluster import connected
try:
    with connected(None, 1):
        pass
except UserError as error:
    print(error)
    sys.exit(2)
"""


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


@pytest.mark.slow
def test_a_lost_node_costs_no_run_and_changes_no_bit(two_nodes: tuple[Any, Any], tmp_path: Path) -> None:
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

    on_ray, here = context(tmp_path / "ray"), context(tmp_path / "local", workers=2)
    executor = RayExecutor(cluster.address, workers=2, threads=1)
    found = outcomes(executor, runs, on_ray, on_event=kill_when_both_work)
    assert len(warnings) == 1
    assert "its node was lost" in warnings[0]
    expected = outcomes(run_locally, runs, here)
    for run in runs:
        assert decided(found[run.id]) == decided(expected[run.id])
    assert len(kept_weights(on_ray)) == 3
    assert kept_weights(on_ray) == kept_weights(here)
    assert not list((tmp_path / "ray").glob(".shared-*"))


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
    assert killed.reason is not None
    assert "SIGKILL" in killed.reason
    assert killed.log


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


def test_a_port_that_is_impossible_or_where_nothing_listens_is_reported_at_once() -> None:
    with pytest.raises(UserError, match="--ray-address localhost:99999: no Ray"):
        require_answer("localhost:99999")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{address}: no Ray cluster can be reached there .*ray start --head"):
            require_answer(address)


def test_a_head_that_does_not_answer_is_given_up_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "ANSWER", 0.3)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # fill its queue: later connections are not answered
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        started = time.monotonic()
        with pytest.raises(UserError, match="no Ray cluster can be reached there"):
            require_answer(f"127.0.0.1:{full.getsockname()[1]}")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "ray://127.0.0.1"])
def test_a_port_that_accepts_is_left_to_ray(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_answer(f"{host}:{server.getsockname()[1]}")
        server.settimeout(5)
        server.accept()[0].close()


def test_without_the_package_ray_the_message_says_how_to_install_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("--executor ray: Ray is not installed. Install it with pip install")


IN_THE_WAY = """
import sys
sys.path.remove("")  # as the installed command has it
from benchmark.execution.ray_cluster import connected

def look():
    import sys
    import benchmark.execution.ray_cluster
    return sys.path

with connected(None, 1) as ray:
    print(*ray.get(ray.remote(look).remote()), sep="\\n")
"""


@pytest.mark.slow
def test_workers_of_ray_find_this_package_and_no_module_of_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__init__.py").touch()
    command = [sys.executable, "-c", IN_THE_WAY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stdout.splitlines()
