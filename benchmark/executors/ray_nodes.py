"""What a Ray cluster has room for, and how one is joined or started. Needs the extra ``ray``."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError

OBJECT_STORE = 256 << 20
"""Bytes of a Ray that is started here for what travels between processes: records, predictions, kept weights; more of
them goes to the disk."""

ANSWER = 5.0
"""Seconds that a head has to accept a connection, for each address of its name; Ray itself would try for minutes."""

_HOST_AND_PORT = re.compile(r"(?:ray://)?\[?(?P<host>[^/\[\]]+?)\]?:(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Share:
    """What one run takes of a node.

    Attributes:
        cpus: threads a run.
        gpus: 1 / runs per GPU; 0 on a cluster without GPUs.
        memory: bytes of main memory; 0: not reserved.
    """

    cpus: int
    gpus: float
    memory: int

    def options(self) -> dict[str, Any]:
        """Return this as options of a Ray actor."""
        memory = {"memory": self.memory} if self.memory else {}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


def room(nodes: Sequence[Mapping[str, Any]], share: Share) -> dict[str, int]:
    """Return how many runs each living node takes at a time, by its id; nodes that take none are left out.

    Args:
        nodes: as ``ray.nodes()`` lists them.
        share: of one run.
    """
    found = {}
    for node in nodes:
        if node["Alive"]:
            has = node["Resources"]
            fits = [int(has.get("CPU", 0) // share.cpus)]
            if share.gpus:
                fits.append(int(has.get("GPU", 0) * round(1 / share.gpus)))
            if share.memory:
                fits.append(int(has.get("memory", 0) // share.memory))
            if min(fits) > 0:
                found[str(node["NodeID"])] = min(fits)
    return found


def share_of_a_run(nodes: Sequence[Mapping[str, Any]], threads: int, runs_per_gpu: int, memory: int) -> Share:
    """Return what a run takes: a part of a GPU where any living node has one, and memory where it has none."""
    on_gpus = any(node["Alive"] and node["Resources"].get("GPU", 0) for node in nodes)
    return Share(threads, 1 / runs_per_gpu if on_gpus else 0, 0 if on_gpus else memory)


def import_ray() -> Any:
    """Return the module ``ray``, its reports to its makers switched off.

    Raises:
        UserError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), timeout=ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unreachable(f"--ray-address {address}", error) from error


def _unreachable(where: str, error: Exception) -> UserError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"{where}: no Ray can be reached there ({why}). Start the head with 'ray start --head', and run this command "
        "on one of the cluster's nodes. A cluster with a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here too."
    )


@contextmanager
def connected(address: str | None, cpus: int) -> Iterator[Any]:
    """Join a cluster, or start a Ray of this machine's own, for as long as the block runs; gives the module ``ray``.

    Args:
        address: of the cluster, as given to ``--ray-address``; None: start one.
        cpus: processors of a Ray that is started; more than there are where the user asks for them.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    ray = import_ray()
    if address:
        require_answer(address)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        started = {} if address else {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _unreachable(f"--ray-address {address}" if address else "--executor ray", error) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
    try:
        yield ray
    finally:
        ray.shutdown()
