"""Locks between processes that share a results folder, on one machine or several.

Each is an operating system lock on an open file (flock), which is released when its process ends for any reason. The
file system must support locks across all machines that share the folder (docs/running.md names some); one without
locks is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import UserError

FOLDER = "locks"
"""Folder of the lock files inside a results folder."""


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Wait for a results folder's lock and hold it during the block, which may write the matrix and the report.

    Raises:
        UserError: the folder cannot be written, or its file system has no locks.
    """
    lock = _lock(folder, "folder")
    with _explain_errors(folder):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Claims:
    """Runs of a results folder that this process has claimed. For use from one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def claim(self, run_id: str) -> bool:
        """Claim a run unless another process has claimed it, and return whether this process has it now.

        Raises:
            UserError: the folder cannot be written, or its file system has no locks.
        """
        lock = _lock(self._folder, run_id)
        try:
            with _explain_errors(self._folder):
                lock.acquire(blocking=False)
        except Timeout:
            return False
        self._held[run_id] = lock
        return True

    def release(self, run_id: str) -> None:
        """Release a run and delete its lock file."""
        lock = self._held.pop(run_id)
        Path(lock.lock_file).unlink(missing_ok=True)  # still locked: another process will lock a new file
        lock.release()

    def release_all(self) -> None:
        """Release every run."""
        for run_id in list(self._held):
            self.release(run_id)


def _lock(folder: Path, name: str) -> FileLock:
    return FileLock(folder / FOLDER / f"{name}.lock")


@contextmanager
def _explain_errors(folder: Path) -> Iterator[None]:
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # otherwise filelock warns and falls back to lock files that outlive their process
            warnings.simplefilter("error", UserWarning)
            yield
    except (NotImplementedError, UserWarning):  # filelock, where flock(2) does not work
        raise UserError(
            f"{folder}: the file system does not support locks, so commands cannot share this folder safely. "
            "Give a folder on another file system with --results."
        ) from None
    except Timeout:
        raise
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}). Nothing was started; give another folder with --results."
        ) from error
