"""SHA-256 of every file of a dataset, by which everything else about the files is cached.

Hashes are cached. A file is hashed again if its inode, size, modification time or, on POSIX, status change time differs
(no program can set the latter back). A file that changed just before it was hashed may change again within the
resolution of its times; its hash is not kept (git calls such entries racy).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.data.decoding.pool import Progress, map_files
from benchmark.files import replace_atomically
from benchmark.locations import cache_directory

if TYPE_CHECKING:
    import pyarrow as pa

SETTLED = 2_000_000_000
"""Minimum time between a file's last change and its hashing for the hash to be kept, nanoseconds: two seconds is the
resolution of times on FAT, the coarsest of all file systems."""

_VERSION = 1
_BLOCK = 1 << 20
_SIGNATURE = ("inode", "size", "modified", "changed")


class FileHash(NamedTuple):
    """Hash of a file's content.

    Attributes:
        sha256: 64 hexadecimal digits, or empty if the file cannot be read.
        problem: the reason why it cannot be read, or None.
    """

    sha256: str
    problem: str | None = None


class _Entry(NamedTuple):
    signature: tuple[int, ...]
    """The values of `_SIGNATURE`."""
    sha256: str


_NOTHING = _Entry((-1,), "")


def hash_files(name: str, paths: Sequence[Path], progress: Progress | None = None) -> list[FileHash]:
    """Return the hash of every file of a dataset, in the order of the paths.

    Args:
        name: the dataset's name, used in the name of the file of hashes; there is one such file per common folder of
            the paths.
        paths: the files.
        progress: called with "hashing" if there are files to hash.

    Raises:
        UserError: the cache folder cannot be written.
    """
    here = Path.cwd()
    places = [str(path) if path.is_absolute() else f"{here}{os.sep}{path}" for path in paths]
    folder = os.path.commonpath(places) if places else ""
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    target = cache_directory() / "index" / f"{name}-{key}-v{_VERSION}.hashes.parquet"
    kept = _read(target)
    signatures = [_sign(path) for path in paths]
    known = [kept.get(place, _NOTHING) for place in places]
    is_new = [entry.signature != signature for entry, signature in zip(known, signatures, strict=True)]
    started = time.time_ns()
    unknown = list(itertools.compress(paths, is_new))
    hashed = iter(list(map_files(_hash, unknown, stage="hashing", progress=progress)) if unknown else [])
    found = [next(hashed) if new else FileHash(entry.sha256) for entry, new in zip(known, is_new, strict=True)]
    entries = {
        place: _Entry(signature, each.sha256)
        for place, signature, each in zip(places, signatures, found, strict=True)
        if signature and each.sha256 and signature[-1] + SETTLED < started
    }
    if entries != kept:
        with replace_atomically(target, "BENCHMARK_CACHE_DIR names another folder for caches.") as temporary:
            _write(entries, temporary)
    return found


def _sign(path: Path) -> tuple[int, ...]:
    """Return the values of `_SIGNATURE`, empty if the file cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _hash(path: Path) -> FileHash:
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait forever
            return FileHash("", "cannot be read: not a regular file")
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return FileHash("", f"cannot be read: {error.strerror}")
    return FileHash(digest.hexdigest())


def _read(path: Path) -> dict[str, _Entry]:
    table = read_table(path)
    if table is None:
        return {}
    names, *signature, sha256 = (table[name].to_pylist() for name in ("path", *_SIGNATURE, "sha256"))
    signed = zip(*signature, strict=True)
    return {os.fsdecode(name): _Entry(*entry) for name, *entry in zip(names, signed, sha256, strict=True)}


def _write(entries: dict[str, _Entry], path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    signed = zip(*(entry.signature for entry in entries.values()), strict=True) if entries else [()] * len(_SIGNATURE)
    columns = {name: pa.array(values, pa.uint64()) for name, values in zip(_SIGNATURE, signed, strict=True)}
    columns["path"] = pa.array([os.fsencode(place) for place in entries], pa.binary())  # a name may not be valid text
    columns["sha256"] = pa.array([entry.sha256 for entry in entries.values()], pa.string())
    write_table(pa.table(columns), path, compression="zstd")


def read_table(path: Path) -> pa.Table | None:
    """Return the table in a Parquet file of the cache, or None if it is missing or damaged."""
    from pyarrow import BufferReader  # not needed to plan runs on catalogue datasets
    from pyarrow.parquet import ParquetFile

    try:
        # in this thread: pyarrow's threads can crash a process in which others start or end
        return ParquetFile(BufferReader(path.read_bytes())).read(use_threads=False)
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return None
