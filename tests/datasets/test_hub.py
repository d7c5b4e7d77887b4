"""Beans through the hub's own client, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.datasets.test_prepare import left_over, sha256, zipped

CLASSES = ("angular_leaf_spot", "bean_rust", "healthy")
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from benchmark.datasets.catalogue import CATALOGUE
from benchmark.datasets.prepare import prepare
from benchmark.errors import UserError
mirror, data, *hashes = sys.argv[1:]
downloads = tuple(
    replace(download, urls=(download.urls[0], f"{mirror}/ibeans/{download.file}"), hash=digest)
    for download, digest in zip(CATALOGUE["beans"].downloads, hashes, strict=True)
)
told = []
try:
    listing = prepare(replace(CATALOGUE["beans"], downloads=downloads), Path(data), lambda *what: told.append(what))
except UserError as error:
    sys.exit(f"refused: {error}")
print(len(listing.files), max(done for what, done, _ in told if what == "downloading train.zip"))
"""


@dataclass
class Hub:
    """What is served: the hub's files and the mirror's by path, and what was asked for."""

    address: str = ""
    hub: dict[str, bytes] = field(default_factory=dict)
    mirror: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    cut_after: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def served() -> Iterator[Hub]:
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            state.asked.append((self.command, self.path))
            body = {**state.hub, **state.mirror}.get(self.path)
            if body is None:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(body) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if with_body:
                self.wfile.write(body[start : state.cut_after.pop(self.path, len(body))])

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_address[1]}"
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def archives() -> dict[str, bytes]:
    """Return beans' three archives with one image a class."""
    return {
        split: zipped([f"{split}/{name}/{name}_{split}.0.png" for name in CLASSES])
        for split in ("train", "validation", "test")
    }


def on_hub(split: str) -> str:
    return f"/datasets/AI-Lab-Makerere/beans/resolve/main/data/{split}.zip"


def prepare(served: Hub, archives: dict[str, bytes], data: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Prepare beans in a process of its own: the hub's client reads HF_ENDPOINT when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(data.parent / "home"), "HF_HUB_OFFLINE": "0"}
    words = [served.address, str(data), *(sha256(body) for body in archives.values())]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
def test_beans_come_from_the_hub_a_cut_connection_is_resumed(
    served: Hub, archives: dict[str, bytes], tmp_path: Path
) -> None:
    served.hub = {on_hub(split): body for split, body in archives.items()}
    served.cut_after[on_hub("test")] = 3000
    done = prepare(served, archives, tmp_path / "data", served.address)
    assert done.stdout.split() == ["9", str(len(archives["train"]))], done.stderr
    assert not any("ibeans" in path for _, path in served.asked)
    assert [path for method, path in served.asked if method == "GET"].count(on_hub("test")) == 2
    assert all(name.startswith("beans/") for name in left_over(tmp_path / "data"))


@pytest.mark.slow
@pytest.mark.parametrize("hub", ["has other files", "has no such files", "cannot be reached"])
def test_where_the_hub_fails_the_second_source_is_used(
    hub: str, served: Hub, archives: dict[str, bytes], tmp_path: Path
) -> None:
    served.mirror = {f"/ibeans/{split}.zip": body for split, body in archives.items()}
    if hub == "has other files":
        served.hub = {on_hub(split): zipped(["evil.png"]) for split in archives}
    endpoint = "http://127.0.0.1:9" if hub == "cannot be reached" else served.address
    done = prepare(served, archives, tmp_path / "data", endpoint)
    assert done.stdout.startswith("9 "), done.stderr
    assert sum(path.startswith("/ibeans/") for _, path in served.asked) == 3


@pytest.mark.slow
def test_when_hub_and_mirror_fail_each_says_why(served: Hub, archives: dict[str, bytes], tmp_path: Path) -> None:
    served.hub = {on_hub(split): zipped(["evil.png"]) for split in archives}
    done = prepare(served, archives, tmp_path / "data", served.address)
    assert done.returncode == 1
    assert "hf://datasets/AI-Lab-Makerere/beans/data/train.zip: the file does not have the expected hash" in done.stderr
    assert "/ibeans/train.zip: the server answers 404" in done.stderr
    assert left_over(tmp_path / "data") == []
