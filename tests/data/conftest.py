"""Shared by the tests of datasets: a cache of their own, small datasets in the archives' layouts, a server."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.folders import list_folder
from benchmark.data.listing import Listing
from benchmark.data.source import DatasetSource
from tests.factories import picture, save


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that caches go to."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(folder))
    monkeypatch.delenv("BENCHMARK_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with beans in its archives' layout: 18, 6 and 9 images."""
    for split, count in (("train", 6), ("validation", 2), ("test", 3)):
        names = [
            f"{c}/{c}_{split}.{k}.png" for c in ("angular_leaf_spot", "bean_rust", "healthy") for k in range(count)
        ]
        write(tmp_path / "data" / "beans" / split, *names, first=100 * count)
    return tmp_path / "data"


def write(root: Path, *names: str, first: int = 0, side: int = 32) -> Path:
    """Write images unlike each other below a folder and return it."""
    for index, name in enumerate(names):
        save(picture(first + index, side), root / name)
    return root


def touch(root: Path, *names: str) -> Path:
    """Write files that are listed, not opened, below a folder and return it; a name that ends with / is a folder's."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"listed, not opened")
    return root


def listed(path: Path, **keys: Any) -> Listing:
    """Return the files of a folder, or of a table, with other keys of its entry."""
    return list_folder(DatasetSource.model_validate({"name": f"folder:{path}", **keys}))


def zipped(names: list[str]) -> bytes:
    """Return a zip archive of different images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, name in enumerate(names):
            image = io.BytesIO()
            picture(index).save(image, "PNG")
            archive.writestr(name, image.getvalue())
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """Return a content's hash as the catalogue writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files_in(data: Path) -> list[str]:
    """Return the files in a data directory, locks aside."""
    return sorted(p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file() and p.suffix != ".lock")


@dataclass
class Server:
    """A server's bodies by path, the misbehaviour of paths, and every GET request that came (path, Range)."""

    address: str = ""
    bodies: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    without_ranges: bool = False
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    seconds: float = 0.0

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"{self.address}/{path}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Yield a server on this machine that answers as a mirror and as the hub do; fetching from it does not wait."""
    served = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(self.path.lstrip("/"))

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            served.requests.append((path, self.headers.get("Range")))
            threading.Event().wait(served.seconds)
            self.wfile.write(self.answer(path)[: served.cut_after.pop(path, None)])

        def answer(self, path: str) -> bytes:
            asked, body = self.headers.get("Range"), served.bodies.get(path, b"")
            asked = None if served.without_ranges else asked
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            status = served.status.get(path, (206 if asked else 200) if path in served.bodies else 404)
            sent = f"bytes {start}-{len(body) - 1}/{len(body)}"
            if status == 206 and start >= len(body):
                status, sent = 416, f"bytes */{len(body)}"
            rest = body[start:] if status in (200, 206) else b""
            self.send_response(status)
            headers = {"Content-Length": str(len(rest)), "Content-Range": sent if asked else ""}
            headers |= {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": "0" * 40}
            headers |= {"X-Error-Code": "EntryNotFound" if status == 404 else ""}
            for word, value in headers.items():
                if value:
                    self.send_header(word, value)
            self.end_headers()
            return rest

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{running.server_address[1]}"
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setattr("benchmark.data.download.web.time.sleep", lambda seconds: None)
    monkeypatch.setattr("benchmark.data.download.web._CHUNK", 1000)
    yield served
    running.shutdown()
    running.server_close()
    thread.join()
