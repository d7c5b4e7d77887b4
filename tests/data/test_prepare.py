"""Downloads, against a server on this machine that behaves in every way a server can."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.data.catalogue import CATALOGUE, DatasetInfo, Download
from benchmark.data.download import web
from benchmark.data.download.prepare import prepare
from benchmark.data.download.unpack import UnsafeArchive, unpack
from benchmark.errors import UserError
from tests.data.conftest import Server
from tests.factories import picture


def zipped(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, name in enumerate(names):
            image = io.BytesIO()
            picture(index).save(image, "PNG")
            archive.writestr(name, image.getvalue())
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def rps(server: Server) -> DatasetInfo:
    """Return RPS with small archives of the original layout on the local server."""
    downloads = []
    for name in ("rps", "rps-test-set"):
        body = zipped([f"{name}/{c}/{c}01-{k:03d}.png" for c in ("paper", "rock", "scissors") for k in range(4)])
        server.bodies[f"{name}.zip"] = body
        downloads.append(Download(urls=(server.url(f"{name}.zip"),), hash=sha256(body)))
    return replace(CATALOGUE["rps"], downloads=tuple(downloads))


def left_over(data: Path) -> list[str]:
    """Return what is in the data directory, locks aside."""
    return sorted(p.relative_to(data).as_posix() for p in data.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_a_dataset_is_downloaded_verified_and_unpacked(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    listing = prepare(rps, tmp_path)
    assert len(listing.files) == 24
    assert (tmp_path / "rps" / "rps" / "rock" / "rock01-003.png").is_file()
    assert all(name.startswith("rps/") for name in left_over(tmp_path)), "archives are removed when the dataset stands"
    prepare(rps, tmp_path)
    assert len(server.requests) == 2, "what is there is not downloaded again"


def test_tar_archives_and_plain_files_come_together(server: Server, tmp_path: Path) -> None:
    from tests.data.test_layouts import pets

    root, downloads = pets(tmp_path / "origin"), []
    for name in ("images", "annotations"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(root / name, arcname=name)
        server.bodies[f"{name}.tar.gz"] = buffer.getvalue()
        downloads.append(Download(urls=(server.url(f"{name}.tar.gz"),), hash=sha256(buffer.getvalue())))
    server.bodies["note.txt"] = b"taken as it is"
    downloads.append(Download(urls=(server.url("note.txt"),), hash=None))
    listing = prepare(replace(CATALOGUE["pets"], downloads=tuple(downloads)), tmp_path / "data")
    assert len(listing.files) == 74
    assert (tmp_path / "data" / "oxford-iiit-pet" / "note.txt").read_bytes() == b"taken as it is"


def test_a_wrong_hash_is_refused_before_anything_is_unpacked(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    server.bodies["rps.zip"] = zipped(["rps/rock/evil.png"])
    with pytest.raises(UserError, match="does not have the expected hash sha256:"):
        prepare(rps, tmp_path)
    assert left_over(tmp_path) == []


def test_a_cut_connection_is_resumed_where_it_broke(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    server.cut_after["rps.zip"] = 5000
    assert len(prepare(rps, tmp_path).files) == 24
    assert [asked for path, asked in server.requests if path == "rps.zip"] == [None, "bytes=5000-"]


def test_a_download_that_stays_broken_is_told_and_the_next_run_resumes_it(
    rps: DatasetInfo, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    server.cut_after["rps.zip"] = 5000
    with pytest.raises(UserError, match="cut before the file's end"):
        prepare(rps, tmp_path)
    assert not (tmp_path / "rps").exists()
    assert left_over(tmp_path) == ["downloads/rps/rps.zip.part"]
    prepare(rps, tmp_path)
    assert ("rps.zip", "bytes=5000-") in server.requests


@pytest.mark.parametrize("more", [b"", b"of another file"])
def test_a_part_that_is_complete_is_taken_and_one_of_another_file_is_not(
    more: bytes, rps: DatasetInfo, server: Server, tmp_path: Path
) -> None:
    part = tmp_path / "downloads" / "rps" / "rps.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.bodies["rps.zip"] + more)
    assert len(prepare(rps, tmp_path).files) == 24
    asked = [asked for path, asked in server.requests if path == "rps.zip"]
    assert asked == [f"bytes={len(server.bodies['rps.zip'] + more)}-", *([None] if more else [])]


def test_a_truncated_body_is_not_taken_for_the_file(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    server.bodies["rps.zip"] = server.bodies["rps.zip"][:-700]
    with pytest.raises(UserError, match="expected hash"):
        prepare(rps, tmp_path)
    assert left_over(tmp_path) == []


def test_after_a_403_the_second_source_is_used_and_one_line_says_so(
    rps: DatasetInfo, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.bodies["mirror/rps.zip"] = server.bodies["rps.zip"]
    server.status["rps.zip"] = 403
    first = replace(rps.downloads[0], urls=(*rps.downloads[0].urls, server.url("mirror/rps.zip")))
    assert len(prepare(replace(rps, downloads=(first, rps.downloads[1])), tmp_path).files) == 24
    (line,) = caplog.messages
    asked, mirror = first.urls
    assert line == f"rps.zip: {asked}: the server answers 403 Forbidden; trying {mirror}"


def test_when_every_source_fails_the_message_says_which_file_to_put_where(
    rps: DatasetInfo, server: Server, tmp_path: Path
) -> None:
    body = server.bodies.pop("rps.zip")
    with pytest.raises(UserError) as caught:
        prepare(rps, tmp_path)
    place = tmp_path / "downloads" / "rps" / "rps.zip"
    assert "404" in str(caught.value)
    assert str(place) in str(caught.value)
    place.write_bytes(body)
    assert len(prepare(rps, tmp_path).files) == 24


def test_without_a_network_there_is_one_message(rps: DatasetInfo, tmp_path: Path) -> None:
    nowhere = replace(rps.downloads[0], urls=("http://127.0.0.1:1/rps.zip",))
    with pytest.raises(UserError, match="no connection"):
        prepare(replace(rps, downloads=(nowhere,)), tmp_path)


def test_a_folder_that_is_something_else_is_kept(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    (tmp_path / "rps").mkdir()
    (tmp_path / "rps" / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="move it away first"):
        prepare(rps, tmp_path)
    assert (tmp_path / "rps" / "thesis.tex").read_text() == "precious"
    assert server.requests == []


def test_an_archive_of_another_layout_leaves_nothing_behind(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    body = zipped(["other/rock/1.png"])
    server.bodies["rps.zip"] = body
    with pytest.raises(UserError, match="not found"):
        prepare(replace(rps, downloads=(Download((server.url("rps.zip"),), sha256(body)),)), tmp_path)
    assert not (tmp_path / "rps").exists()
    assert not any(path.name.startswith(".unpacking") for path in tmp_path.iterdir())


def test_two_processes_cost_one_download(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    script = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from benchmark.data.catalogue import CATALOGUE, Download\n"
        "from benchmark.data.download.prepare import prepare\n"
        f"downloads = {[(d.urls, d.hash) for d in rps.downloads]!r}\n"
        "info = replace(CATALOGUE['rps'], downloads=tuple(Download(*d) for d in downloads))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(len(prepare(info, Path({str(tmp_path)!r})).files))"
    )
    server.seconds = 0.5  # for each answer, so that the second comes while the first is at it
    pipe = subprocess.PIPE
    processes = [subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0].strip() for process in processes] == ["24", "24"]
    assert len(server.requests) == 2


def archive_with(tmp_path: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        good = tarfile.TarInfo("good.txt")
        archive.addfile(good)
        archive.addfile(member, io.BytesIO(content))
    return path


def refused(archive: Path, tmp_path: Path) -> str:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UnsafeArchive) as caught:
        unpack(archive, folder)
    assert list(folder.iterdir()) == [], "nothing may be written"
    return str(caught.value)


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/etc/evil.txt", "C:/evil.txt", "a\\..\\evil.txt"])
def test_members_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    assert "outside of its folder" in refused(path, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_archive_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "is a link or a device" in refused(archive_with(tmp_path, member), tmp_path)


def test_a_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "is a link or a device" in refused(path, tmp_path)


def test_a_member_that_claims_ten_gigabytes_in_a_small_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.txt", "x")
        archive.writestr("big.bin", b"\0" * 1_000_000)
    content = path.read_bytes()
    path.write_bytes(content.replace((1_000_000).to_bytes(4, "little"), (4_000_000_000).to_bytes(4, "little")))
    assert "claims to unpack to 4,000,000,001 bytes" in refused(path, tmp_path)


def test_a_tar_member_that_claims_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("big.bin")
    member.size = 10 * 2**30
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf() + b"\0" * 2**20))
    assert "10,737,418,240 bytes" in refused(path, tmp_path)


def test_a_member_that_grows_beyond_its_claim_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.bin", b"\0" * 1_000_000)
    path.write_bytes(path.read_bytes().replace((1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsafeArchive):
        unpack(path, tmp_path / "out")


def test_a_member_that_is_shorter_than_its_claim_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.bin", b"\0" * 1_000_000)
    path.write_bytes(path.read_bytes().replace((1_000_000).to_bytes(4, "little"), (1_000_500).to_bytes(4, "little")))
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsafeArchive, match="shorter than it claims"):
        unpack(path, tmp_path / "out")


def test_a_duplicate_member_is_refused(tmp_path: Path) -> None:
    assert "is a duplicate" in refused(archive_with(tmp_path, tarfile.TarInfo("good.txt")), tmp_path)


def test_a_damaged_archive_is_reported(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(5000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", content)
    tarred = tarfile.TarInfo("a.bin")
    tarred.size = len(content)
    archive_with(tmp_path, tarred, content)
    for name in ("a.zip", "a.tar.gz"):
        good = (tmp_path / name).read_bytes()
        broken = [good[:2000], good[:36] + b"\xff" * 20 + good[56:], b"not an archive"]
        for index, bad in enumerate(broken):
            (tmp_path / name).write_bytes(bad)
            (out := tmp_path / f"{index}-{name}").mkdir()
            with pytest.raises(UnsafeArchive, match="damaged"):
                unpack(tmp_path / name, out)


def test_an_unsafe_archive_is_removed_and_the_dataset_is_not_there(
    server: Server, rps: DatasetInfo, tmp_path: Path
) -> None:
    body = zipped(["rps/rock/1.png", "../evil.png"])
    server.bodies["rps.zip"] = body
    info = replace(rps, downloads=(Download((server.url("rps.zip"),), sha256(body)),))
    with pytest.raises(UserError, match="outside of its folder"):
        prepare(info, tmp_path / "data")
    assert left_over(tmp_path) == []
