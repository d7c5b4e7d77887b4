"""What is told where there is no cluster at ``--ray-address``, and where there is no Ray."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from benchmark.errors import UserError
from benchmark.execution import ray_cluster
from benchmark.execution.ray_cluster import require_answer

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


def test_a_port_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"--ray-address {address}: no Ray can be reached there .*ray start --head"):
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
        with pytest.raises(UserError, match="no Ray can be reached there"):
            require_answer(f"127.0.0.1:{full.getsockname()[1]}")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("host", ["127.0.0.1", "ray://127.0.0.1"])
def test_a_port_that_accepts_is_left_to_ray(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_answer(f"{host}:{server.getsockname()[1]}")
        server.settimeout(5)
        server.accept()[0].close()


def test_an_impossible_port_is_told() -> None:
    with pytest.raises(UserError, match="--ray-address localhost:99999: no Ray"):
        require_answer("localhost:99999")


def test_without_the_package_ray_it_is_told_how_to_install_it() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("--executor ray: Ray is not installed. Install it with pip install")
