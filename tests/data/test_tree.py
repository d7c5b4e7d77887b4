"""Folders as they are on disk: links, pipes, names that are no text, folders that may not be read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from benchmark.data.check import Finding
from benchmark.data.load import check_dataset
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from tests.data.conftest import listed, touch, write
from tests.factories import picture, save


def folder(path: Path) -> Path:
    return touch(path, *(f"{name}/{k}.png" for name in "ab" for k in range(3)))


def errors(path: Path) -> list[Finding]:
    _, found = check_dataset(DatasetSource(name=f"folder:{path}"))
    return [finding for finding in found if finding.severity == "error"]


def test_images_behind_links_are_taken_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "root")
    touch(tmp_path / "elsewhere", "4.png", "deep/5.png")
    (root / "a" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "a" / "one.png").symlink_to(tmp_path / "elsewhere" / "4.png")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    listing = listed(root)
    of_a = sorted(file.id for file in listing.files if file.label == 0)
    assert of_a == ["a/0.png", "a/1.png", "a/2.png", "a/again/5.png", "a/more/4.png", "a/one.png"]
    assert sorted(file.id for file in listing.files if file.label == 2) == ["c/4.png", "c/deep/5.png"]
    circles = next(remark for remark in listing.remarks if "links" in remark.text)
    assert circles.names == ("a/more/deep",)
    assert circles.matters


def test_links_that_lead_in_circles_are_named_and_not_followed(tmp_path: Path) -> None:
    root = folder(tmp_path / "root")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "self").symlink_to(".")
    (root / "b" / "out").symlink_to(tmp_path)
    (root / "c").symlink_to(root)
    listing = listed(root)
    assert len(listing.files) == 6
    (remark,) = listing.remarks
    assert remark.names == ("a/self", "a/up", "b/out", "c")


def test_what_is_no_file_among_the_images_is_an_error_that_names_it_and_is_not_opened(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write(tmp_path / name, *(f"{k}.png" for k in range(12)), first=100 * label)
    os.mkfifo(tmp_path / "a" / "live.png")
    (tmp_path / "a" / "lost.png").symlink_to("gone/x.png")
    (tmp_path / "b" / "round.png").symlink_to("round.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "b" / "socket.png"))
    (finding,) = errors(tmp_path)
    assert finding.details == {
        "a/live.png": "a pipe, not a file",
        "a/lost.png": "a link to gone/x.png, which does not exist",
        "b/round.png": "a link that leads back to itself",
        "b/socket.png": "a socket, not a file",
    }


def test_a_broken_link_where_a_class_may_have_been_is_refused(tmp_path: Path) -> None:
    (folder(tmp_path) / "c").symlink_to("/mnt/gone/c")
    with pytest.raises(UserError, match=r"c is a link to /mnt/gone/c, which does not exist. Remove or restore it"):
        listed(tmp_path)


def test_a_folder_that_may_not_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path)
    scandir = os.scandir

    def forbid(path: Path) -> object:  # root may read everything
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid)
    with pytest.raises(UserError, match=r"b: this folder cannot be read .Permission denied"):
        listed(tmp_path)


def test_a_name_that_is_no_text_is_written_as_text_and_the_file_is_read(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write(tmp_path / name, *(f"{k}.png" for k in range(12)), first=100 * label)
    save(picture(500), tmp_path / "new.png")
    (tmp_path / "new.png").rename(tmp_path / "a" / os.fsdecode(b"r\xf6ntgen.png"))
    listing = listed(tmp_path)
    assert r"a/r\xf6ntgen.png" in {file.id for file in listing.files}
    assert not errors(tmp_path)
    touch(tmp_path, r"a/r\xf6ntgen.png")
    with pytest.raises(UserError, match=r"two file names are the same as text, a/r\\xf6ntgen.png"):
        listed(tmp_path)


def test_a_class_or_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "1")
    (tmp_path / "1" / "b").rename(tmp_path / "1" / os.fsdecode(b"\xf6"))
    with pytest.raises(UserError, match=r"the name of class '\\udcf6' is not one line of UTF-8 text"):
        listed(tmp_path / "1")
    no_text = (tmp_path / "1").rename(tmp_path / os.fsdecode(b"\xf6"))
    with pytest.raises(UserError, match=r"\\xf6: this name is not UTF-8 text. Rename the folder"):
        listed(no_text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "there is no such folder"),
        ("d.zip", "this is an archive. Unpack it"),
        ("d.tar.gz", "this is an archive. Unpack it"),
        ("d.png", "this is a file. Name the folder"),
        ("pipe", "this is a pipe, not a file"),
        ("round", "cannot be opened"),
        ("lost", "cannot be opened"),
        ("x" * 300, "cannot be opened .*File name too long"),
        ("/", "this is the root of the file system"),
        ("~nobody-of-this-name/d", "home folder is unknown"),
    ],
)
def test_what_is_no_folder_is_called_what_it_is(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path, "d.zip", "d.tar.gz", "d.png"))
    os.mkfifo("pipe")
    Path("round").symlink_to("round")
    Path("lost").symlink_to("gone")
    with pytest.raises(UserError, match=message):
        listed(Path(name))


def test_a_folder_with_the_longest_name_that_systems_allow_has_a_shorter_one_for_caches(tmp_path: Path) -> None:
    assert listed(folder(tmp_path / ("d" * 255))).name == "d" * 80
