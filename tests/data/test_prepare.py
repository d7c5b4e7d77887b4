"""Downloads, against a server on this machine that behaves in every way a server can."""

from __future__ import annotations

import gzip
import io
import random
import stat
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
from tests.data.conftest import Server, files_in, sha256, zipped
from tests.data.test_layouts import pets


@pytest.fixture
def rps(server: Server) -> DatasetInfo:
    """Return RPS with small archives of the original layout on the local server."""
    downloads = []
    for name in ("rps", "rps-test-set"):
        body = zipped([f"{name}/{c}/{c}01-{k:03d}.png" for c in ("paper", "rock", "scissors") for k in range(4)])
        server.bodies[f"{name}.zip"] = body
        downloads.append(Download(urls=(server.url(f"{name}.zip"),), hash=sha256(body)))
    return replace(CATALOGUE["rps"], downloads=tuple(downloads))


def test_a_dataset_is_downloaded_verified_and_unpacked(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    listing = prepare(rps, tmp_path)
    assert len(listing.files) == 24
    assert (tmp_path / "rps" / "rps" / "rock" / "rock01-003.png").is_file()
    assert all(name.startswith("rps/") for name in files_in(tmp_path)), "archives are removed in the end"
    prepare(rps, tmp_path)
    assert len(server.requests) == 2, "what is there is not downloaded again"


def test_tar_archives_and_plain_files_come_together(server: Server, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("kind", ["another file", "truncated"])
def test_a_wrong_hash_is_refused_before_anything_is_unpacked(
    kind: str, rps: DatasetInfo, server: Server, tmp_path: Path
) -> None:
    good = server.bodies["rps.zip"]
    server.bodies["rps.zip"] = good[:-700] if kind == "truncated" else zipped(["rps/rock/evil.png"])
    with pytest.raises(UserError, match="does not have the expected hash sha256:"):
        prepare(rps, tmp_path)
    assert files_in(tmp_path) == []


def test_a_cut_connection_is_resumed_where_it_broke(rps: DatasetInfo, server: Server, tmp_path: Path) -> None:
    server.cut_after["rps.zip"] = 5000
    assert len(prepare(rps, tmp_path).files) == 24
    assert [asked for path, asked in server.requests if path == "rps.zip"] == [None, "bytes=5000-"]


def test_a_server_that_sends_no_parts_is_asked_for_the_rest_and_its_whole_file_replaces_the_part(
    rps: DatasetInfo, server: Server, tmp_path: Path
) -> None:
    server.cut_after["rps.zip"] = 5000
    server.without_ranges = True
    assert len(prepare(rps, tmp_path).files) == 24
    assert [asked for path, asked in server.requests if path == "rps.zip"] == [None, "bytes=5000-"]


def test_a_download_that_stays_broken_is_reported_and_the_next_run_resumes_it(
    rps: DatasetInfo, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    server.cut_after["rps.zip"] = 5000
    with pytest.raises(UserError, match="cut before the file's end"):
        prepare(rps, tmp_path)
    assert not (tmp_path / "rps").exists()
    assert files_in(tmp_path) == ["downloads/rps/rps.zip.part"]
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


@pytest.mark.parametrize(
    ("names", "message"),
    [(["other/rock/1.png"], "not found"), (["rps/rock/1.png", "../evil.png"], "outside of its folder")],
)
def test_an_archive_of_another_layout_or_an_unsafe_one_leaves_nothing_behind(
    names: list[str], message: str, rps: DatasetInfo, server: Server, tmp_path: Path
) -> None:
    server.bodies["rps.zip"] = body = zipped(names)
    with pytest.raises(UserError, match=message):
        prepare(replace(rps, downloads=(Download((server.url("rps.zip"),), sha256(body)),)), tmp_path / "data")
    left = files_in(tmp_path)
    assert left == (["data/downloads/rps/rps.zip"] if message == "not found" else []), "an unsafe archive is removed"
    assert not any(path.name.startswith((".unpacking", "rps")) for path in (tmp_path / "data").iterdir())


def tar_with(tmp_path: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("good.txt"))
        archive.addfile(member, io.BytesIO(content))
    return path


def zip_with(tmp_path: Path, member: str | zipfile.ZipInfo, content: bytes = b"x", claimed: int | None = None) -> Path:
    """Write an archive whose last member claims a size of its own."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(member, content)
    if claimed is not None:
        size = len(content).to_bytes(4, "little")
        path.write_bytes(path.read_bytes().replace(size, claimed.to_bytes(4, "little")))
    return path


def refused(archive: Path, *, before_writing: bool = True) -> str:
    folder = archive.with_name(f"{archive.name} unpacked")
    folder.mkdir()
    with pytest.raises(UnsafeArchive) as caught:
        unpack(archive, folder)
    assert not before_writing or list(folder.iterdir()) == [], "nothing may be written"
    return str(caught.value)


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/etc/evil.txt", "C:/evil.txt", "a\\..\\evil.txt"])
def test_members_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    assert "outside of its folder" in refused(zip_with(tmp_path, name))
    assert "outside of its folder" in refused(tar_with(tmp_path, tarfile.TarInfo(name)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_archive_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "is a link or a device" in refused(tar_with(tmp_path, member))


def test_a_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "is a link or a device" in refused(zip_with(tmp_path, link, b"/etc/passwd"))


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        (4_000_000_000, "claims to unpack to 4,000,000,001 bytes"),
        (10, ""),
        (1_000_500, "shorter than it claims"),
    ],
)
def test_a_member_that_claims_another_size_is_refused(claimed: int, message: str, tmp_path: Path) -> None:
    archive = zip_with(tmp_path, "big.bin", b"\0" * 1_000_000, claimed)
    assert message in refused(archive, before_writing=claimed > 1e9)


def test_a_tar_member_that_claims_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("big.bin")
    member.size = 10 * 2**30
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf() + b"\0" * 2**20))
    assert "10,737,418,240 bytes" in refused(path)


def test_a_duplicate_member_is_refused(tmp_path: Path) -> None:
    assert "is a duplicate" in refused(tar_with(tmp_path, tarfile.TarInfo("good.txt")))


def test_a_damaged_archive_is_reported(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(5000)
    member = tarfile.TarInfo("a.bin")
    member.size = len(content)
    for archive in (zip_with(tmp_path, "a.bin", content), tar_with(tmp_path, member, content)):
        good = archive.read_bytes()
        for index, bad in enumerate([good[:2000], good[:60] + b"\xff" * 20 + good[80:], b"not an archive"]):
            broken = tmp_path / f"{index}{archive.name}"
            broken.write_bytes(bad)
            assert "damaged" in refused(broken, before_writing=False)
