"""Archives from the network, unpacked without trust in what they say."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

LARGEST_RATIO = 50
"""Unpacked bytes for each byte of the archive; images hardly compress, so honest archives stay near 1."""

SMALLEST_BOUND = 64 * 2**20
"""Bytes that any archive may unpack to."""

_CHUNK = 1 << 20


class UnsafeArchive(Exception):
    """The archive is damaged, or holds what an archive of images has no need of."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    read: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tgz or .tar.gz file into an existing folder.

    Names and declared sizes of all members are checked before the first is written, and while writing no member may
    grow beyond what it declared.

    Raises:
        UnsafeArchive: damaged; or a member is absolute, climbs out with ``..``, is a link or a device or appears
            twice; or all together unpack to more than `LARGEST_RATIO` times the archive.
        OSError: the folder cannot be written.
    """
    bound = max(SMALLEST_BOUND, LARGEST_RATIO * archive.stat().st_size)
    try:
        with _members(archive, bound) as members:
            checked = [(member, _safe(member.name)) for member in members]
            if len({path for _, path in checked}) != len(checked):
                raise UnsafeArchive(f"{archive.name}: a member stands there twice")
            for member, path in checked:
                _write(member, folder / path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
        # zipfile raises the last two for a compression that it does not know and for an encrypted member
        raise UnsafeArchive(f"{archive.name}: damaged ({error})") from None
    except UnsafeArchive as error:
        raise UnsafeArchive(f"{archive.name}: {str(error).removeprefix(f'{archive.name}: ')}") from None


class _Budget:
    """Counts what members claim, as they are listed: a claim is refused before its bytes are looked for."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._claimed = 0

    def admits(self, name: str, size: int, kind: int, folder: bool) -> bool:
        """Return True for a file, False for a folder.

        Raises:
            UnsafeArchive: it is neither, would be written elsewhere, or the claims exceed the bound.
        """
        _safe(name)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeArchive(f"member {name!r} is a link or a device")
        self._claimed += size
        if self._claimed > self._bound:
            raise UnsafeArchive(
                f"claims to unpack to {self._claimed:,} bytes, more than the {self._bound:,} that its size allows"
            )
        return not folder


@contextmanager
def _members(archive: Path, bound: int) -> Iterator[list[_Member]]:
    budget = _Budget(bound)
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            yield [
                _Member(info.filename, info.file_size, partial(zipped.open, info))
                for info in zipped.infolist()
                if budget.admits(info.filename, info.file_size, stat.S_IFMT(info.external_attr >> 16), info.is_dir())
            ]
    else:
        with tarfile.open(archive) as tarred:
            yield [
                _Member(info.name, info.size, partial(_file_in, tarred, info))
                for info in tarred
                if budget.admits(
                    info.name, info.size, 0 if info.isfile() or info.isdir() else stat.S_IFLNK, info.isdir()
                )
            ]


def _file_in(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "links and devices were refused"
    return file


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise UnsafeArchive(f"member {name!r} would be written outside of its folder")
    return path


def _write(member: _Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    with member.read() as source, path.open("xb") as target:
        while block := source.read(_CHUNK):
            left -= len(block)
            if left < 0:
                raise UnsafeArchive(f"member {member.name!r} is larger than it claims")
            target.write(block)
    if left:
        raise UnsafeArchive(f"member {member.name!r} is shorter than it claims")
