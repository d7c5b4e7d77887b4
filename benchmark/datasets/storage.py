"""Files of the cache: written so that a reader sees a whole file or none, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from benchmark.errors import UserError


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path | None]:
    """Yield a temporary path to write ``target`` under, alone; on leaving it is synced to disk and renamed.

    Yields None where another process made the target while this one waited. Remains of a killed build of the same
    target are removed first. When the block raises, the temporary file is removed and the target is left as it was.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if target.exists():
                yield None
                return
            for remains in target.parent.glob(f".{target.name}.*.tmp"):
                remains.unlink(missing_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
            os.close(handle)
            temporary = Path(name)
            try:
                yield temporary
                sync(temporary)
                temporary.chmod(0o644)
                temporary.replace(target)
                sync(target.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}). "
            "BENCHMARK_CACHE_DIR names another folder for caches."
        ) from error


@contextlib.contextmanager
def written_back(path: Path, every: float = 0.2) -> Iterator[None]:
    """While the block fills a file, bring what it has written to disk, so that the last sync has little left to do.

    Args:
        path: the file.
        every: seconds between two syncs.
    """
    ended = threading.Event()

    def bring() -> None:
        while not ended.wait(every):
            sync(path)

    thread = threading.Thread(target=bring, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no way to sync a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
