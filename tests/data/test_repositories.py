"""Datasets of the hub, from a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.data.folders import repository_folder
from benchmark.data.source import DatasetSource
from benchmark.matrix import expand, file, identify
from tests.data.conftest import write
from tests.factories import picture

COMMIT, NEXT = "a" * 40, "b" * 40
NAME = f"hub:lab/cells@{COMMIT}"
CLASSES = ("bad", "good")


@dataclass
class Hub:
    """Files of repositories by commit, and how the server misbehaves."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = COMMIT
    card: dict[str, object] = field(default_factory=dict)
    refuses: tuple[int, str] | None = None
    token: str | None = None
    cut_after: dict[str, int] = field(default_factory=dict)
    oids: dict[str, str] = field(default_factory=dict)
    held: str | None = None
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            asked = self.headers.get("Range")
            served.requests.append((self.command, path, asked))
            words = path.split("/")
            denied = served.token and self.headers.get("Authorization") != f"Bearer {served.token}"
            if served.refuses or (denied and words[0] != "lfs"):
                status, code = served.refuses or (401, "RepoNotFound")
                return self.send(status, b"", {"X-Error-Code": code})
            if words[0] == "lfs":
                body = next(each for files in served.files.values() for each in files.values() if sha(each) == words[1])
                return self.send_file(body, path, asked, {})
            if words[:2] == ["api", "datasets"]:
                revision = words[5] if len(words) > 5 else "main"
                revision = served.main if revision == "main" else revision
                if revision not in served.files:
                    return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                files = served.files[revision]
                if len(words) > 4 and words[4] == "tree":
                    inside = "".join(f"{word}/" for word in words[6:])
                    listed = [entry(*each) for each in files.items() if each[0].startswith(inside)]
                    return self.send_json(
                        [{**each, "oid": served.oids.get(str(each["path"]), each["oid"])} for each in listed]
                    )
                return self.send_json({"id": "lab/cells", "sha": revision, "cardData": served.card, "tags": []})
            revision, name = words[4], "/".join(words[5:])
            body = served.files[revision][name]
            if name == served.held and self.command == "GET":
                served.released.wait(60)
            about = {"X-Repo-Commit": revision}
            if not name.endswith(".parquet"):
                return self.send_file(body, name, asked, {**about, "ETag": f'"{blob(body)}"'})
            storage = served.address.replace("127.0.0.1", "localhost")  # another host, as the hub's is
            linked = {"X-Linked-Etag": f'"{sha(body)}"', "X-Linked-Size": str(len(body))}
            return self.send(302, b"", {**about, **linked, "Location": f"{storage}/lfs/{sha(body)}"})

        def send_json(self, value: object) -> None:
            self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def send_file(self, body: bytes, name: str, asked: str | None, headers: Mapping[str, str]) -> None:
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            part = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if asked else {}
            self.send(206 if asked else 200, body[start:], {**headers, **part}, served.cut_after)

        def send(self, status: int, body: bytes, headers: Mapping[str, str], cut: dict[str, int] | None = None) -> None:
            self.send_response(status)
            for word, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(word, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: (cut or {}).pop("next", None)])

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{running.server_address[1]}"
    template = f"{served.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield served
    running.shutdown()
    running.server_close()
    thread.join()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict[str, object]:
    found: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
    if path.endswith(".parquet"):
        found["lfs"] = {"oid": sha(content), "size": len(content), "pointerSize": 130}
    return found


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    picture(index, 32).save(buffer, "PNG")
    return buffer.getvalue()


def folders(count: int = 12) -> dict[str, bytes]:
    """Return a repository in the imagefolder layout, with a card and a script that must not be run."""
    names = [
        f"data/{split}/{name}/{k}.png"
        for split, of_class in (("train", count), ("validation", 2), ("test", 3))
        for name in CLASSES
        for k in range(of_class)
    ]
    return {"README.md": b"", "cells.py": b"raise SystemExit", **{name: png(k) for k, name in enumerate(names)}}


def parquet(first: int, rows: int, *, names: bool = True, change: Mapping[str, list[object]] | None = None) -> bytes:
    """Return a Parquet file of images and labels as the library datasets writes it; ``change`` adds columns."""
    images = [{"bytes": png(first + k), "path": f"{k}.png"} for k in range(rows)]
    columns = {"image": images, "label": [k % 2 for k in range(rows)], **(change or {})}
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table(columns)
    if names:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def tables(*, names: bool = True) -> dict[str, bytes]:
    sizes = {"train": (0, 24), "validation": (100, 4), "test": (200, 6)}
    return {f"data/{split}-00000-of-00001.parquet": parquet(*size, names=names) for split, size in sizes.items()}


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["datasets", *words])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize("made", [folders(), tables()], ids=["imagefolder", "parquet"])
def test_a_repository_is_downloaded_once_with_its_splits_and_needs_no_network_after_that(
    made: dict[str, bytes], hub: Hub
) -> None:
    hub.files[COMMIT], hub.card = made, {"license": "mit"}
    code, shown = call("prepare", NAME)
    assert code == 0, shown
    assert "24 train, 4 validation, 6 test images" in shown
    assert "licence mit" in shown
    assert not any(path.endswith("cells.py") for _, path, _ in hub.requests)
    made_first, hub.requests = ids(NAME), []
    assert call("prepare", NAME)[0] == 0
    assert call("check", NAME)[0] == 0
    assert ids(NAME) == made_first
    assert hub.requests == []
    place = repository_folder(DatasetSource(name=NAME))
    assert [each.name for each in place.parent.iterdir() if each.suffix != ".lock"] == [place.name]


def ids(name: str) -> list[str]:
    """Return the ids of a matrix's runs on a dataset."""
    matrix = file.load(file.find("cpu"), [f"datasets=['{name}']", "evaluation=split", "input_modes=[grey-3ch]"])
    return [run.id for run in expand.expand(identify.identify_folders(matrix))]


def test_labels_are_the_names_of_the_schema_or_the_card_or_else_numbers(hub: Hub) -> None:
    label = {"name": "label", "dtype": {"class_label": {"names": {"0": "bad", "1": "good"}}}}
    hub.files = {COMMIT: tables(), NEXT: tables(names=False), "c" * 40: tables(names=False)}
    found = []
    for commit in hub.files:
        hub.card = {"dataset_info": {"features": [label]}} if commit == NEXT else {}
        assert call("prepare", f"hub:lab/cells@{commit}")[0] == 0
        place = repository_folder(DatasetSource(name=f"hub:lab/cells@{commit}"))
        found.append({line.split(",")[1] for line in (place / "labels.csv").read_text().splitlines()[1:]})
    assert found == [{"bad", "good"}, {"bad", "good"}, {"0", "1"}]


def test_the_index_that_pandas_writes_is_not_a_column_of_labels(hub: Hub) -> None:
    label: list[object] = ["x", "y"]
    hub.files[COMMIT] = {
        "train.parquet": parquet(0, 24, change={"__index_level_0__": [*range(24)], "label": label * 12}, names=False)
    }
    code, shown = call("prepare", NAME)
    assert code == 0, shown


@pytest.mark.parametrize(
    ("same", "message"), [(True, "its images have more than"), (False, "claims to hold more than")]
)
def test_a_file_that_unpacks_to_far_more_than_its_size_is_refused(
    same: bool, message: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.data.download.hub.SMALLEST_BOUND", 10_000)
    monkeypatch.setattr("benchmark.data.download.hub.LARGEST_RATIO", 5)
    images: list[object] = [{"bytes": (b"%4d" % (0 if same else k)) + bytes(1000), "path": None} for k in range(1000)]
    hub.files[COMMIT] = {"train.parquet": parquet(0, 1000, change={"image": images})}
    code, shown = call("prepare", NAME)
    assert (code, f"train.parquet: {message}" in shown) == (1, True), shown


def test_a_hub_out_of_reach_is_one_message(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, shown = call("prepare", NAME)
    assert (code, "cannot be downloaded: ConnectError: " in shown) == (1, True), shown
    assert hub.requests == []


def test_the_commit_is_part_of_a_runs_id_even_if_the_images_are_the_same(hub: Hub) -> None:
    hub.files = {COMMIT: folders(), NEXT: folders()}
    names = [f"hub:lab/cells@{commit}" for commit in hub.files]
    assert [call("prepare", name)[0] for name in names] == [0, 0]
    assert not set(ids(names[0])) & set(ids(names[1]))


@pytest.mark.parametrize("ending", ["", "@main"])
def test_a_branch_is_refused_with_the_commit_to_write_which_follows_the_branch(ending: str, hub: Hub) -> None:
    hub.files = {COMMIT: {}, NEXT: {}}
    for hub.main in (COMMIT, NEXT):
        code, shown = call("prepare", f"hub:lab/cells{ending}")
        assert (code, f"write hub:lab/cells@{hub.main}." in shown) == (1, True), shown
    code, shown = call("check", f"hub:lab/cells{ending}")
    assert (code, f"datasets prepare hub:lab/cells{ending}` says which" in shown) == (1, True), shown


def test_a_repository_that_is_not_here_is_a_message_with_the_command_that_fetches_it() -> None:
    code, shown = call("check", NAME)
    assert (code, f"Fetch it with `python -m benchmark datasets prepare {NAME}`." in shown) == (1, True), shown


@pytest.mark.parametrize(
    ("refuses", "message"),
    [
        ((401, "RepoNotFound"), "there is no such repository, or it is private"),
        ((403, "GatedRepo"), "accept the repository's terms on its page, and set HF_TOKEN"),
        ((403, ""), "the server answers 403 Forbidden (HfHubHTTPError). Set HF_TOKEN"),
        ((404, "RevisionNotFound"), "the repository has no such commit or branch"),
    ],
)
def test_what_the_hub_refuses_is_one_message_and_leaves_nothing(
    refuses: tuple[int, str], message: str, hub: Hub
) -> None:
    hub.refuses = refuses
    code, shown = call("prepare", NAME)
    assert (code, message in shown) == (1, True), shown
    assert not repository_folder(DatasetSource(name=NAME)).exists()


def test_a_token_opens_a_private_repository(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files[COMMIT], hub.token = tables(), "hf_secret"
    assert "or it is private" in call("prepare", NAME)[1]
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    code, shown = call("prepare", NAME)
    assert code == 0, shown
    assert "hf_secret" not in shown


def broken(**change: list[object]) -> dict[str, bytes]:
    return {"train.parquet": parquet(0, 2, change=change)}


TWO: list[object] = [{"bytes": b"x", "path": None}] * 2


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"cells.py": b"", "README.md": b""}, "a script, cells.py, and no code from the hub is run"),
        ({"train.zip": b""}, "neither Parquet files nor images, but train.zip"),
        ({"../evil.png": b""}, "'../evil.png' would be written outside of its folder"),
        ({"train.parquet": parquet(0, 2)[:-100]}, "train.parquet: cannot be read as Parquet"),
        (broken(label=[0, 2]), "row 1 has label 2 in column label, which names 2 classes"),
        (broken(label=[0, None]), "row 1 has no label in column label"),
        (broken(image=[TWO[0], None]), "row 1 has no image in column image"),
        (broken(mask=TWO), f"Columns of images: image, mask; of labels: label. Name two of them: {NAME}#IMAGE,LABEL"),
        ({f"{each}/train.parquet": parquet(0, 2) for each in "ab"}, "of several datasets, in a and b. Write one"),
        ({f"{each}.parquet": parquet(0, 2) for each in ("train", "more")}, "more.parquet is not named after train"),
    ],
)
def test_what_cannot_be_read_is_one_message_and_leaves_nothing(made: dict[str, bytes], message: str, hub: Hub) -> None:
    hub.files[COMMIT] = made
    code, shown = call("prepare", NAME)
    assert (code, message in shown) == (1, True), shown
    assert not repository_folder(DatasetSource(name=NAME)).exists()


def test_columns_and_the_folder_in_the_repository_can_be_chosen(hub: Hub) -> None:
    more = parquet(0, 24, change={"coarse": [*"xy"] * 12, "mask": TWO * 12})
    hub.files[COMMIT] = {"a/train.parquet": more, "b/train.parquet": parquet(0, 2)}
    code, shown = call("prepare", f"{NAME}/a#image,coarse")
    assert code == 0, shown
    source = DatasetSource(name=f"{NAME}/a#image,coarse")
    assert "images/0000-0000001.png,y,train" in (repository_folder(source) / "labels.csv").read_text()


def test_a_file_that_is_not_what_the_hub_lists_is_refused(hub: Hub) -> None:
    hub.files[COMMIT] = folders()
    hub.oids["data/test/bad/0.png"] = blob(png(1000))
    code, shown = call("prepare", NAME)
    assert (code, "data/test/bad/0.png does not have the hash that the hub names" in shown) == (1, True), shown


def test_a_cut_connection_is_continued_where_it_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.files[COMMIT], hub.cut_after["next"] = {"train.parquet": parquet(0, 24)}, 5000
    code, shown = call("prepare", NAME)
    assert code == 0, shown
    assert any(asked and asked.startswith("bytes=5000-") for _, _, asked in hub.requests)


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_in_the_datasets_place_and_is_continued(hub: Hub, tmp_path: Path) -> None:
    hub.files[COMMIT], hub.held = folders(), "data/validation/good/1.png"
    place = repository_folder(DatasetSource(name=NAME))
    write(place.with_name(f".{place.name}.made"), "data/train/bad/left-by-another-kill.png")
    settings = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-m", "benchmark", "datasets", "prepare", NAME], env=settings) as process:
        held = ("GET", f"datasets/lab/cells/resolve/{COMMIT}/{hub.held}", None)
        while held not in hub.requests and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    assert not place.exists()
    hub.released.set()
    code, shown = call("prepare", NAME)
    assert (code, "24 train, 4 validation, 6 test images" in shown) == (0, True), shown
    gets = [path for command, path, _ in hub.requests if command == "GET"]
    assert gets.count(f"datasets/lab/cells/resolve/{COMMIT}/data/test/bad/0.png") == 1


@pytest.mark.slow
def test_a_run_on_a_repository_needs_no_network_after_prepare(hub: Hub, tmp_path: Path) -> None:
    hub.files[COMMIT] = tables()
    online = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path)}
    offline = {**online, "HF_ENDPOINT": "http://127.0.0.1:9"}
    chosen = (
        f"datasets=['{NAME}']",
        "weights=none",
        "models=[timm/test_resnet]",
        "training.image_size=32",
        "seeds=[0]",
    )
    sets = [
        word
        for text in (*chosen, "policies=[scratch]", "input_modes=[grey-3ch]", "training.epochs=1")
        for word in ("--set", text)
    ]
    run = ["run", "--matrix", "smoke", *sets, "--results", str(tmp_path / "results")]
    for words, settings in ((["datasets", "prepare", NAME], online), (run, offline)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", *words], env=settings, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert NAME in next((tmp_path / "results").rglob("matrix.yaml")).read_text()
