"""Files written completely or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from benchmark.errors import UserError

OTHER_CACHE = "BENCHMARK_CACHE_DIR names another folder for caches."
"""What to do where a file of the cache cannot be written."""


@contextlib.contextmanager
def replacing(path: Path, advice: str = "Nothing was changed there.") -> Iterator[Path]:
    """Yield a temporary path; its content becomes that of ``path`` at the end, synced to disk and then renamed.

    A reader sees the old content or the new, never a part. When the block raises, the temporary file is removed.

    Args:
        path: the file to write; its folder is made.
        advice: the last sentence of the message.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    with reported(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path | None]:
    """Yield a temporary path to write a file of the cache under, as `replacing` does, in one process at a time.

    Yields None if another process made the target while this one waited. Files that a killed build of the same name
    left, whatever the suffix, are removed first.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    with reported(target, OTHER_CACHE):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if target.exists():
                yield None
                return
            for remains in target.parent.glob(f".{glob.escape(target.stem)}.*.tmp"):
                remains.unlink(missing_ok=True)
            with replacing(target, OTHER_CACHE) as temporary:
                yield temporary


@contextlib.contextmanager
def building_folder(target: Path) -> Iterator[Path | None]:
    """Yield an empty folder, which becomes one of the cache at the end, in one process at a time; None if it exists.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    if target.is_dir():
        yield None
        return
    with reported(target, OTHER_CACHE):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if target.is_dir():
                yield None
                return
            temporary = target.with_name(f".{target.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                yield temporary
                if hasattr(os, "sync"):
                    os.sync()
                temporary.replace(target)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync(target.parent)


@contextlib.contextmanager
def reported(path: Path, advice: str) -> Iterator[None]:
    """Raise an error of the system in the block as one about a path that cannot be written.

    Raises:
        UserError: the block raises OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}). {advice}") from error


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no way to sync a folder
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
