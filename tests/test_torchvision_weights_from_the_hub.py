"""torchvision's own loading code against a local HTTP server that answers as PyTorch's does."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torchvision

from benchmark.architectures import Architecture, architecture
from benchmark.errors import UserError
from tests import checkpoints

SQUEEZENET = "torchvision/squeezenet1_0"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served"))
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def publish(folder: Path, state: dict[str, torch.Tensor], name: str | None = None) -> str:
    """Write a file as PyTorch's server has them, the first digits of its SHA-256 in its name."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    name = name or f"network-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (folder / "served" / name).write_bytes(buffer.getvalue())
    return name


def served_by(server: ThreadingHTTPServer, model: str, name: str) -> Architecture:
    """Return an architecture whose weights stand under the server's address."""
    known = architecture(model)
    weights = cast(Any, known)._weights
    cast(Any, known)._weights = replace(weights.value, url=f"http://127.0.0.1:{server.server_address[1]}/{name}")
    return known


def test_weights_are_fetched_once_checked_and_those_of_the_file(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    state = checkpoints.made_up(SQUEEZENET)
    name = publish(tmp_path, state)
    known = served_by(server, SQUEEZENET, name)
    loaded, origin = known.from_hub()
    assert name in origin
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
    (tmp_path / "served" / name).unlink()
    again, _ = known.from_hub()
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())


def test_a_damaged_file_in_the_cache_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    known = served_by(server, SQUEEZENET, name := publish(tmp_path, checkpoints.made_up(SQUEEZENET)))
    known.from_hub()
    (cached,) = (tmp_path / "home").rglob(name)
    torch.save(checkpoints.made_up(SQUEEZENET, seed=1), cached)
    with pytest.raises(UserError, match=r"damaged: its SHA-256 starts with .* Delete it"):
        known.from_hub()


@pytest.mark.parametrize("case", ["another content", "not there", "no server"])
def test_weights_that_cannot_be_had_are_refused(case: str, server: ThreadingHTTPServer, tmp_path: Path) -> None:
    name = "network-00000000.pth"
    if case == "another content":
        publish(tmp_path, checkpoints.made_up(SQUEEZENET), name)
    address = cast(Any, SimpleNamespace(server_address=("127.0.0.1", 9))) if case == "no server" else server
    known = served_by(address, SQUEEZENET, name)
    with pytest.raises(UserError, match=r"hub: the weights of torchvision/squeezenet1_0 cannot be loaded from http"):
        known.from_hub()


@pytest.mark.slow
def test_the_auxiliary_head_that_inceptions_file_carries_is_left_out(
    server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    state = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    known = served_by(server, "torchvision/inception_v3", publish(tmp_path, dict(state)))
    loaded, _ = known.from_hub()
    assert loaded.keys() == {name for name in state if not name.startswith("AuxLogits.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
