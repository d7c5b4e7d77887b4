"""timm's and torchvision's own loading code against a local HTTP server that answers as theirs do."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
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
from tests.data.conftest import Server

REPOSITORY = "timm/test_resnet.r160_in1k"


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
def test_weights_from_the_hub_reach_the_network(mode: str, server: Server, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state, file = timm.create_model("test_resnet").state_dict(), tmp_path / "built.safetensors"
    server.bodies[f"{REPOSITORY}/resolve/main/model.safetensors"] = save(state)
    settings = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", BUILD, mode, str(file)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert REPOSITORY in done.stdout
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


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that torchvision's files go to."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def publish(server: Server, state: dict[str, torch.Tensor], name: str | None = None) -> str:
    """Serve a file as PyTorch's server has them, the first digits of its SHA-256 in its name."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    name = name or f"network-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    server.bodies[name] = buffer.getvalue()
    return name


def at(url: str, model: str) -> Architecture:
    """Return an architecture whose weights are at another address."""
    known = find_architecture(model)
    weights = cast(Any, known)._weights
    cast(Any, known)._weights = replace(weights.value, url=url)
    return known


def test_weights_are_fetched_once_and_checked(server: Server) -> None:
    state = factories.pretrained(SQUEEZENET)
    name = publish(server, state)
    known = at(server.url(name), SQUEEZENET)
    loaded, origin = known.from_hub()
    assert name in origin
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
    again, _ = known.from_hub()
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())
    assert [path for path, _ in server.requests] == [name]


def test_a_damaged_file_in_the_cache_is_refused(server: Server, torch_home: Path) -> None:
    name = publish(server, factories.pretrained(SQUEEZENET))
    known = at(server.url(name), SQUEEZENET)
    known.from_hub()
    (cached,) = torch_home.rglob(name)
    torch.save(factories.pretrained(SQUEEZENET, seed=1), cached)
    with pytest.raises(UserError, match=r"damaged: its SHA-256 starts with .* Delete it"):
        known.from_hub()


@pytest.mark.parametrize("case", ["another content", "not there", "no server"])
def test_missing_or_other_weights_are_refused(case: str, server: Server) -> None:
    name = "network-00000000.pth"
    if case == "another content":
        publish(server, factories.pretrained(SQUEEZENET), name)
    known = at(f"http://127.0.0.1:9/{name}" if case == "no server" else server.url(name), SQUEEZENET)
    with pytest.raises(UserError, match=r"hub: the weights of torchvision/squeezenet1_0 cannot be loaded from http"):
        known.from_hub()


@pytest.mark.slow
def test_the_auxiliary_head_that_inceptions_file_carries_is_left_out(server: Server) -> None:
    state = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    known = at(server.url(publish(server, dict(state))), "torchvision/inception_v3")
    loaded, _ = known.from_hub()
    assert loaded.keys() == {name for name in state if not name.startswith("AuxLogits.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())
