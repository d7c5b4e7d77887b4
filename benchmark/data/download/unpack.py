"""Unpacking of untrusted archives from the network."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

LARGEST_RATIO = 50
"""Unpacked bytes per byte of the archive; images hardly compress, so honest archives stay near 1."""

SMALLEST_BOUND = 64 * 2**20
"""Size to which any archive may unpack, bytes."""


class UnsafeArchive(Exception):
    """The archive is damaged, or contains members that an archive of images does not need."""


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    """As claimed, bytes."""
    is_folder: bool
    is_file: bool
    """A member that is neither a folder nor a file is a link or a device."""
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tgz or .tar.gz file into an existing folder.

    The names and claimed sizes of all members are checked before the first is written; Python's readers stop at the
    claimed size. Only contents are copied: no owner, mode or time, so that neither tarfile's extraction filters
    (Python 3.10.12) nor a check after them are needed.

    Raises:
        UnsafeArchive: it is damaged; or a member is absolute, climbs out with ``..``, is a link or a device, is a
            duplicate or shorter than it claims; or all together unpack to more than `LARGEST_RATIO` times its size.
        OSError: the folder cannot be written.
    """
    bound = max(SMALLEST_BOUND, LARGEST_RATIO * archive.stat().st_size)
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                _extract(_check_members(_in_zip(zipped), bound), folder)
        else:
            with tarfile.open(archive) as tarred:
                _extract(_check_members(_in_tar(tarred), bound), folder)
    except UnsafeArchive as error:
        raise UnsafeArchive(f"{archive.name}: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: zipfile's for an encrypted member, and in a subclass for an unknown compression
        raise UnsafeArchive(f"{archive.name}: damaged ({error})") from None


def _in_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
        yield _Member(info.filename, info.file_size, info.is_dir(), is_file, partial(archive.open, info))


def _in_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        yield _Member(info.name, info.size, info.isdir(), info.isfile(), partial(archive.extractfile, info))


def _check_members(members: Iterable[_Member], bound: int) -> dict[PurePosixPath, _Member]:
    """Return the files among some members; each member is checked before the next is read."""
    files: dict[PurePosixPath, _Member] = {}
    claimed = 0
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or any(sign in member.name for sign in "\\:\0"):
            raise UnsafeArchive(f"member {member.name!r} would be written outside of its folder")
        if not (member.is_file or member.is_folder):
            raise UnsafeArchive(f"member {member.name!r} is a link or a device")
        claimed += member.size
        if claimed > bound:
            raise UnsafeArchive(f"claims to unpack to {claimed:,} bytes, more than the {bound:,} that its size allows")
        if path in files:
            raise UnsafeArchive(f"member {member.name!r} is a duplicate")
        if not member.is_folder:
            files[path] = member
    return files


def _extract(files: dict[PurePosixPath, _Member], folder: Path) -> None:
    for path, member in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        assert source is not None, "links and devices were refused"
        with source, target.open("xb") as file:
            shutil.copyfileobj(source, file)
        if target.stat().st_size != member.size:
            raise UnsafeArchive(f"member {member.name!r} is shorter than it claims")
