"""Beans through the hub's own client, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.data.conftest import Server, files_in, sha256, zipped

CLASSES = ("angular_leaf_spot", "bean_rust", "healthy")
HUB = "hf://datasets/AI-Lab-Makerere/beans/data"
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from benchmark.data.catalogue import CATALOGUE
from benchmark.data.download.prepare import prepare
from benchmark.errors import UserError
mirror, data, *hashes = sys.argv[1:]
downloads = tuple(
    replace(download, urls=(download.urls[0], f"{mirror}/ibeans/{download.file}"), hash=digest)
    for download, digest in zip(CATALOGUE["beans"].downloads, hashes, strict=True)
)
reported = []
try:
    listing = prepare(replace(CATALOGUE["beans"], downloads=downloads), Path(data), lambda *now: reported.append(now))
except UserError as error:
    sys.exit(f"refused: {error}")
print(len(listing.files), max(done for what, done, _ in reported if what == "downloading train.zip"))
"""
ONE_EACH = """
import sys
from pathlib import Path
from benchmark.data.download import web
web.TIMEOUT = (1.0, 1.0)
*kinds, folder = sys.argv[1:]
for kind in kinds:
    try:
        web._fetch_from_hub(f"hf://datasets/broken/{kind}/a.zip", Path(folder, kind), None)
        print(f"{kind}: {Path(folder, kind).read_bytes()!r}")
    except web.SourceFailed as error:
        print(f"{kind}: {error}")
try:
    web._fetch_from_hub("hf://datasets/broken/xet-200/a.zip", Path(folder, "xet-200", "a.zip"), None)
except OSError as error:
    print(f"disk: {error.strerror}")
"""
Done: TypeAlias = "subprocess.CompletedProcess[str]"


@pytest.fixture
def archives() -> dict[str, bytes]:
    """Return beans' three archives with one image a class."""
    return {
        split: zipped([f"{split}/{name}/{name}_{split}.0.png" for name in CLASSES])
        for split in ("train", "validation", "test")
    }


def on_hub(split: str) -> str:
    return f"datasets/AI-Lab-Makerere/beans/resolve/main/data/{split}.zip"


def with_client(script: str, words: list[str], home: Path, endpoint: str, *, offline: bool = False) -> Done:
    """Run a script in a process of its own: the hub's client reads its variables when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    return subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def prepare(server: Server, archives: dict[str, bytes], data: Path, endpoint: str, *, offline: bool = False) -> Done:
    words = [server.address, str(data), *(sha256(body) for body in archives.values())]
    return with_client(SCRIPT, words, data.parent / "home", endpoint, offline=offline)


@pytest.mark.slow
def test_beans_come_from_the_hub_a_cut_connection_is_resumed(
    server: Server, archives: dict[str, bytes], tmp_path: Path
) -> None:
    server.bodies |= {on_hub(split): body for split, body in archives.items()}
    server.cut_after[on_hub("test")] = 3000
    done = prepare(server, archives, tmp_path / "data", server.address)
    assert done.stdout.split() == ["9", str(len(archives["train"]))], done.stderr
    assert not any("ibeans" in path for path, _ in server.requests)
    assert [path for path, _ in server.requests].count(on_hub("test")) == 2
    assert all(name.startswith("beans/") for name in files_in(tmp_path / "data"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hub", "reason"),
    [
        ("has other files", "the file does not have the expected hash sha256:"),
        ("has no such files", "the server answers 404 Not Found (RemoteEntryNotFoundError)"),
        ("cannot be reached", "ConnectError: [Errno 111] Connection refused"),
        ("has no address", "ConnectError: "),
        ("is switched off", "OfflineModeIsEnabled: Cannot reach http"),
    ],
)
def test_where_the_hub_fails_the_second_source_is_used_and_a_warning_says_so(
    hub: str, reason: str, server: Server, archives: dict[str, bytes], tmp_path: Path
) -> None:
    server.bodies |= {f"ibeans/{split}.zip": body for split, body in archives.items()}
    if hub == "has other files":
        server.bodies |= {on_hub(split): zipped(["evil.png"]) for split in archives}
    endpoints = {"cannot be reached": "http://127.0.0.1:9", "has no address": "http://nowhere.invalid"}
    done = prepare(
        server, archives, tmp_path / "data", endpoints.get(hub, server.address), offline=hub == "is switched off"
    )
    assert done.stdout.startswith("9 "), done.stderr
    warnings = [line for line in done.stderr.splitlines() if "; trying " in line]
    for split, line in zip(("train", "validation", "test"), warnings, strict=True):
        assert line.startswith(f"{split}.zip: {HUB}/{split}.zip: {reason}")
        assert line.endswith(f"; trying {server.address}/ibeans/{split}.zip")
    assert sum(path.startswith("ibeans/") for path, _ in server.requests) == 3


@pytest.mark.slow
def test_when_hub_and_mirror_fail_each_says_why(server: Server, archives: dict[str, bytes], tmp_path: Path) -> None:
    server.bodies |= {on_hub(split): zipped(["evil.png"]) for split in archives}
    done = prepare(server, archives, tmp_path / "data", server.address)
    assert done.returncode == 1
    assert "; trying None" not in done.stderr
    assert f"{HUB}/train.zip: the file does not have the expected hash" in done.stderr
    assert "/ibeans/train.zip: the server answers 404" in done.stderr
    assert files_in(tmp_path / "data") == []


ANSWERS = {
    "entry-404": "the server answers 404 Not Found (RemoteEntryNotFoundError)",
    "bare-404": "the server answers 404 Not Found (HfHubHTTPError)",
    "token-401": "the server answers 401 Unauthorized (HfHubHTTPError)",
    "gated-403": "the server answers 403 Forbidden (GatedRepoError)",
    "bad-400": "the server answers 400 Bad Request (BadRequestError)",
    "down-500": "the server answers 500 Internal Server Error (HfHubHTTPError)",
    "json-404": "the server answers 404 Not Found (HfHubHTTPError)",
    "portal-200": "LocalEntryNotFoundError: Response from ",
    "noise": "RemoteProtocolError: illegal status line",
    "closed": "RemoteProtocolError: Server disconnected",
    "silent": "ReadTimeout: timed out",
    "loop-302": "TooManyRedirects: ",
    "unzipped-200": "DecodingError: ",
    "shorter-200": "OSError: Consistency check failed: file should be of size 5 but has size 3",
    "later-403": "the server answers 403 Forbidden (HfHubHTTPError)",
    "xet-200": "b'whole'",
}


class Broken(http.server.BaseHTTPRequestHandler):
    """Answers each in the way that the repository's name says."""

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(b"whole")

    def answer(self, body: bytes) -> None:
        kind = next((word for word in self.path.split("/") if word in ANSWERS), "bare-404")
        good = {"ETag": '"1"', "X-Repo-Commit": "0" * 40, "Content-Length": "5"}
        headers = {
            "entry-404": {"X-Error-Code": "EntryNotFound"},
            "gated-403": {"X-Error-Code": "GatedRepo"},
            "json-404": {"Content-Type": "application/json"},
            "loop-302": {"Location": f"{self.path}x"},
            "unzipped-200": {**good, "Content-Encoding": "gzip"},
            "shorter-200": {**good, **({"Content-Length": "3"} if body else {})},
            "later-403": good,
            "xet-200": {**good, "X-Xet-Hash": "a" * 64, "X-Xet-Refresh-Route": "http://127.0.0.1:9/token"},
        }.get(kind, {})
        if kind == "noise":
            self.wfile.write(b"\x16\x03\x01 noise\r\n\r\n")
        elif kind == "silent":
            time.sleep(1.5)
        elif kind != "closed":
            self.send_response(200 if kind == "later-403" and not body else int(kind.rpartition("-")[2]))
            for word, value in headers.items():
                self.send_header(word, value)
            self.end_headers()
            self.wfile.write(body[: int(headers.get("Content-Length", "5"))])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.slow
def test_every_way_in_which_a_hub_fails_has_a_message_of_one_line_and_a_full_disk_is_not_one(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        done = with_client(ONE_EACH, [*ANSWERS, str(tmp_path)], tmp_path / "home", address)
        server.shutdown()
    *lines, disk = done.stdout.splitlines()
    for line, (kind, answer) in zip(lines, ANSWERS.items(), strict=True):
        assert line.startswith(f"{kind}: {answer}"), done.stderr
    assert disk == "disk: Not a directory"
