"""timm's and torchvision's own loading code against local HTTP servers that answer as theirs do."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save

from benchmark.errors import UserError
from benchmark.networks import weights
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import Architecture
from tests import factories

REPOSITORY = "timm/test_resnet.r160_in1k"


class Hub(BaseHTTPRequestHandler):
    """Serves one repository's model.safetensors; everything else is not found."""

    def __init__(self, content: bytes, *args: object) -> None:
        self.content = content
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        if self.path != f"/{REPOSITORY}/resolve/main/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if with_body:
            self.wfile.write(self.content)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return dict(timm.create_model("test_resnet").state_dict())


@pytest.fixture
def endpoint(state: dict[str, torch.Tensor]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, save(state)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


BUILD = """
import sys
from safetensors.torch import save_file
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build

mode, target = sys.argv[1:]
built = build.build("timm/test_resnet.r160_in1k", INPUT_MODES[mode], classes=3, source="hub", seed=0)
save_file({name: tensor.contiguous() for name, tensor in built.network.state_dict().items()}, target)
print(built.weights_origin)
"""
"""For another process: the hub's client reads its settings when it is imported."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["grey-3ch", "grey-1ch"])
def test_weights_from_the_hub_reach_the_network(
    mode: str, endpoint: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "built.safetensors"
    settings = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", BUILD, mode, str(file)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "timm/test_resnet.r160_in1k" in done.stdout
    built = load_file(file)
    for name, tensor in state.items():
        if name.startswith("fc."):
            assert built[name].shape[0] == 3
        elif name == "conv1.0.weight" and mode == "grey-1ch":
            torch.testing.assert_close(built[name], tensor.sum(1, keepdim=True))
        else:
            assert torch.equal(built[name], tensor), name


def test_a_hub_that_does_not_answer_gives_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"hub: the weights of timm/test_resnet\.r160_in1k cannot be loaded"):
        weights.load("timm/test_resnet.r160_in1k", "hub")


SQUEEZENET = "torchvision/squeezenet1_0"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder."""

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def torch_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
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
    """Return an architecture whose weights are at the server's address."""
    known = find_architecture(model)
    weights = cast(Any, known)._weights
    cast(Any, known)._weights = replace(weights.value, url=f"http://127.0.0.1:{server.server_address[1]}/{name}")
    return known


def test_weights_are_fetched_once_and_checked(torch_server: ThreadingHTTPServer, tmp_path: Path) -> None:
    state = factories.pretrained(SQUEEZENET)
    name = publish(tmp_path, state)
    known = served_by(torch_server, SQUEEZENET, name)
    loaded, origin = known.from_hub()
    assert name in origin
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
    (tmp_path / "served" / name).unlink()
    again, _ = known.from_hub()
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())


def test_a_damaged_file_in_the_cache_is_refused(torch_server: ThreadingHTTPServer, tmp_path: Path) -> None:
    known = served_by(torch_server, SQUEEZENET, name := publish(tmp_path, factories.pretrained(SQUEEZENET)))
    known.from_hub()
    (cached,) = (tmp_path / "home").rglob(name)
    torch.save(factories.pretrained(SQUEEZENET, seed=1), cached)
    with pytest.raises(UserError, match=r"damaged: its SHA-256 starts with .* Delete it"):
        known.from_hub()


@pytest.mark.parametrize("case", ["another content", "not there", "no server"])
def test_missing_or_other_weights_are_refused(case: str, torch_server: ThreadingHTTPServer, tmp_path: Path) -> None:
    name = "network-00000000.pth"
    if case == "another content":
        publish(tmp_path, factories.pretrained(SQUEEZENET), name)
    address = cast(Any, SimpleNamespace(server_address=("127.0.0.1", 9))) if case == "no server" else torch_server
    known = served_by(address, SQUEEZENET, name)
    with pytest.raises(UserError, match=r"hub: the weights of torchvision/squeezenet1_0 cannot be loaded from http"):
        known.from_hub()


@pytest.mark.slow
def test_the_auxiliary_head_that_inceptions_file_carries_is_left_out(
    torch_server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    state = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    known = served_by(torch_server, "torchvision/inception_v3", publish(tmp_path, dict(state)))
    loaded, _ = known.from_hub()
    assert loaded.keys() == {name for name in state if not name.startswith("AuxLogits.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
