"""The content of files, looked at again when anything about a file says that it changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from benchmark.data import hashes
from benchmark.data.hashes import SETTLED, hash_files


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "d").mkdir()
    paths = [tmp_path / "d" / f"{number}.bin" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
    return paths


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are hashed, as long as the test runs."""
    names: list[str] = []
    plain = hashes._hash

    def noted(path: Path) -> hashes.FileHash:
        names.append(path.name)
        return plain(path)

    monkeypatch.setattr(hashes, "_hash", noted)
    return names


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_that_settled_are_hashed_once(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    expected = [(sha256(path), None) for path in files]
    for _ in range(2):
        assert hash_files("d", files) == expected
    assert sorted(read) == [path.name for path in files]


def test_a_file_that_changed_just_before_it_was_hashed_is_hashed_again(files: list[Path], read: list[str]) -> None:
    for _ in range(2):
        hash_files("d", files)
    assert len(read) == 2 * len(files)
    assert SETTLED == 2e9, "two seconds, the resolution of FAT's times"


def test_another_content_of_the_same_size_and_time_is_seen(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    first, before = hash_files("d", files), files[2].stat()
    files[2].write_bytes(b"x" * 100)
    os.utime(files[2], ns=(before.st_atime_ns, before.st_mtime_ns))
    read.clear()
    second = hash_files("d", files)
    assert read == ["2.bin"]
    assert [k for k in range(5) if first[k] != second[k]] == [2]
    assert second[2].sha256 == sha256(files[2])


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_seen(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    first = hash_files("d", files)
    shutil.copy2(files[0], files[0].with_name("new"))
    files[0].with_name("new").write_bytes(b"y" * 100)
    shutil.copystat(files[0], files[0].with_name("new"))
    files[0].with_name("new").replace(files[0])
    assert hash_files("d", files)[0].sha256 == sha256(files[0]) != first[0].sha256


def test_a_new_file_is_hashed_and_the_others_are_not(
    files: list[Path], read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    hash_files("d", files[1:])
    read.clear()
    hash_files("d", files)
    assert read == ["0.bin"]


def test_folders_of_one_name_do_not_share_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    for parent in ("one", "two"):
        (tmp_path / parent / "d").mkdir(parents=True)
        (tmp_path / parent / "d" / "a.bin").write_text(parent)
    for _ in range(2):
        for parent in ("one", "two"):
            monkeypatch.chdir(tmp_path / parent)
            (found,) = hash_files("d", [Path("d", "a.bin")])
            assert found.sha256 == hashlib.sha256(parent.encode()).hexdigest()


def test_what_cannot_be_read_is_told_and_a_pipe_is_not_opened(files: list[Path]) -> None:
    files[0].unlink()
    files[1].unlink()
    os.mkfifo(files[1])
    files[2].unlink()
    files[2].symlink_to(files[2])
    found = hash_files("d", files)
    assert found[0] == ("", "cannot be read: No such file or directory")
    assert found[1] == ("", "cannot be read: not a regular file")
    assert found[2] == ("", "cannot be read: Too many levels of symbolic links")
    assert found[3].problem is None


def test_a_name_that_is_no_text_is_kept(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin"))
    path.write_bytes(b"a")
    for _ in range(2):
        assert hash_files("d", [path])[0].problem is None
    assert len(read) == 1


def test_a_damaged_file_of_hashes_is_made_again(
    files: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "SETTLED", 0)
    first = hash_files("d", files)
    (kept,) = (cache / "index").glob("d-*.hashes.parquet")
    kept.write_bytes(kept.read_bytes()[:-20])
    assert hash_files("d", files) == first
