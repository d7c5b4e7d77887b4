"""The SHA-256 of every file of a dataset: its content decides everything else that is kept about it.

Hashes are kept in the cache folder, and a file is hashed again when its inode, its size, or its time of change
(of the content or, on POSIX, of anything: no program can set that one back) is another. A file that changed just before
it was hashed may change again within the resolution of its times; its hash is not kept (git calls such entries racy).
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
from benchmark.files import replacing
from benchmark.locations import cache_directory

if TYPE_CHECKING:
    import pyarrow as pa

SETTLED = 2_000_000_000
"""Nanoseconds between the last change of a file and its hashing from which the hash is kept: FAT's times have a
resolution of two seconds, the coarsest of all file systems."""

_VERSION = 1
_BLOCK = 1 << 20
_SIGNATURE = ("inode", "size", "modified", "changed")


class Hashed(NamedTuple):
    """A file's content.

    Attributes:
        sha256: 64 hexadecimal digits, or empty if it cannot be read.
        problem: why it cannot be read, or None.
    """

    sha256: str
    problem: str | None = None


class _Entry(NamedTuple):
    signature: tuple[int, ...]
    """Values of `_SIGNATURE`."""
    sha256: str


_NOTHING = _Entry((-1,), "")


def hash_files(name: str, paths: Sequence[Path], progress: Progress | None = None) -> list[Hashed]:
    """Return the content of every file of a dataset, in the order of the paths.

    Args:
        name: of the dataset, for the file of its hashes, of which there is one per common folder of the paths.
        paths: of the files.
        progress: called with "hashing", if files are hashed.

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
    found = [next(hashed) if new else Hashed(entry.sha256) for entry, new in zip(known, is_new, strict=True)]
    entries = {
        place: _Entry(signature, each.sha256)
        for place, signature, each in zip(places, signatures, found, strict=True)
        if signature and each.sha256 and signature[-1] + SETTLED < started
    }
    if entries != kept:
        with replacing(target, "BENCHMARK_CACHE_DIR names another folder for caches.") as temporary:
            _write(entries, temporary)
    return found


def _sign(path: Path) -> tuple[int, ...]:
    """Return values of `_SIGNATURE`, or nothing if it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _hash(path: Path) -> Hashed:
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for what is never written
            return Hashed("", "cannot be read: not a regular file")
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return Hashed("", f"cannot be read: {error.strerror}")
    return Hashed(digest.hexdigest())


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
    columns["path"] = pa.array([os.fsencode(place) for place in entries], pa.binary())  # a name may be no text
    columns["sha256"] = pa.array([entry.sha256 for entry in entries.values()], pa.string())
    write_table(pa.table(columns), path, compression="zstd")


def read_table(path: Path) -> pa.Table | None:
    """Return a Parquet file of the cache, or None if it is missing or damaged."""
    from pyarrow import BufferReader  # not needed to plan runs on datasets of the catalogue
    from pyarrow.parquet import ParquetFile

    try:
        # in this thread: pyarrow's own could end the process in which others are started or end
        return ParquetFile(BufferReader(path.read_bytes())).read(use_threads=False)
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return None
