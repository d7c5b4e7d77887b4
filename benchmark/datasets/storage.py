"""Files of the cache: written so that a reader sees a whole file or none, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from benchmark.errors import UserError


@contextlib.contextmanager
def building(target: Path, *, synced: bool = True) -> Iterator[Path | None]:
    """Yield a temporary path to write ``target`` under, alone; on leaving it is synced to disk and renamed.

    Yields None where another process made the target while this one waited. Remains of a killed build of the same
    target are removed first. When the block raises, the temporary file is removed and the target is left as it was.

    Args:
        target: the file to make.
        synced: whether to wait until it is on disk. Without, a crash of the whole machine may leave a file under its
            final name whose content never reached the disk: the content itself must tell (see `this_boot`).

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
                if synced:
                    sync(temporary)
                temporary.chmod(0o644)
                temporary.replace(target)
                if synced:
                    sync(target.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}). "
            "BENCHMARK_CACHE_DIR names another folder for caches."
        ) from error


def this_boot() -> str | None:
    """Return what names the machine's present boot, or None on systems that do not tell.

    While it is the same, whatever one process wrote is what every other reads, on disk or not.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no way to sync a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
