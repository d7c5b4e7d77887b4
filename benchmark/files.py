"""Atomic writing of files and folders."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from filelock import FileLock

from benchmark.errors import UserError

OTHER_CACHE = "BENCHMARK_CACHE_DIR names another folder for caches."
"""Advice if a cache file cannot be written."""


@contextlib.contextmanager
def replace_atomically(path: Path, advice: str = "Nothing was changed there.") -> Iterator[Path]:
    """Yield a temporary path, which is synced to disk and renamed to ``path`` when the block ends.

    Readers see either the old content or the new, never a part. If the block raises, the temporary file is deleted.

    Args:
        path: the file to write; its folder is created.
        advice: the last sentence of the error message.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    with explain_write_errors(path, advice):
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
    """Write a file with `replace_atomically`."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def build_once(target: Path) -> Iterator[Path | None]:
    """Yield a temporary path for a cache file, as `replace_atomically` does, in one process at a time.

    Yields None if another process created the target while this one waited. Files left over from a killed build of
    the same name, with any suffix, are deleted first.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    with explain_write_errors(target, OTHER_CACHE):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if target.exists():
                yield None
                return
            for remains in target.parent.glob(f".{glob.escape(target.stem)}.*.tmp"):
                remains.unlink(missing_ok=True)
            with replace_atomically(target, OTHER_CACHE) as temporary:
                yield temporary


@contextlib.contextmanager
def build_folder_once(target: Path) -> Iterator[Path | None]:
    """Yield an empty folder that is renamed to a cache folder when the block ends, or None if that folder exists.

    Only one process builds a folder at a time.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    if target.is_dir():
        yield None
        return
    with explain_write_errors(target, OTHER_CACHE):
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
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to the target, which is renamed to it when the block ends, and else deleted.

    Raises:
        UserError: the target exists and is not an empty folder, or it cannot be written.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target}: exists already. Name a new folder.")
    explained = partial(explain_write_errors, target, "Nothing was changed there.")
    with explained():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        with explained():
            temporary.replace(target)
            sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def explain_write_errors(path: Path, advice: str) -> Iterator[None]:
    """Turn an operating system error in the block into a message that a path cannot be written.

    Raises:
        UserError: the block raises OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}). {advice}") from error


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no way to sync a folder
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
