"""The hub's loading code against a local HTTP server that answers as the hub does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save

from benchmark import weights
from benchmark.errors import UserError

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


def load(
    code: str, endpoint: str, home: Path, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: the hub's client reads its settings when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    environment["HF_HUB_OFFLINE"] = str(int(offline))
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


LOAD = """
import sys
from benchmark import models, weights
from benchmark.errors import UserError
from benchmark.inputs import INPUT_MODES
import torch
from safetensors.torch import load_file, save_file
try:
    built = models.build("timm/test_resnet.r160_in1k", INPUT_MODES[sys.argv[2]], classes=3, source="hub", seed=0)
except UserError as error:
    sys.exit(f"refused: {error}")
save_file({k: v.contiguous() for k, v in built.network.state_dict().items()}, sys.argv[1])
print(built.weights_origin)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["grey-3ch", "grey-1ch"])
def test_weights_from_the_hub_reach_the_network(
    mode: str, endpoint: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    done = load(LOAD, endpoint, tmp_path / "home", str(tmp_path / "built.safetensors"), mode)
    assert done.returncode == 0, done.stderr
    assert "timm/test_resnet.r160_in1k" in done.stdout
    built = load_file(tmp_path / "built.safetensors")
    for name, tensor in state.items():
        if name.startswith("fc."):
            assert built[name].shape[0] == 3
        elif name == "conv1.0.weight" and mode == "grey-1ch":
            torch.testing.assert_close(built[name], tensor.sum(1, keepdim=True))
        else:
            assert torch.equal(built[name], tensor), name


@pytest.mark.slow
def test_without_a_hub_the_run_is_refused_and_random_weights_never_take_over(tmp_path: Path) -> None:
    done = load(LOAD, "http://127.0.0.1:9", tmp_path / "home", str(tmp_path / "built.safetensors"), "rgb", offline=True)
    assert done.returncode == 1
    assert "refused: hub: the weights of timm/test_resnet.r160_in1k cannot be loaded" in done.stderr
    assert not (tmp_path / "built.safetensors").exists()


def test_a_hub_that_does_not_answer_gives_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"hub: the weights of timm/test_resnet\.r160_in1k cannot be loaded"):
        weights.load("timm/test_resnet.r160_in1k", "hub")
