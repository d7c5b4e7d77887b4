"""Locks between processes that share a results folder, on one machine or several.

Each is a lock of the operating system on an open file (flock): it ends with the process that holds it, however that
ends, so that nothing is ever left locked by the dead. The folder must lie on a file system whose locks reach every
machine that shares it (experiments/README.md names them); one without locks is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import UserError

FOLDER = "locks"
"""Of the lock files, inside the results folder."""


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Have a results folder's matrix and report to oneself; waits for its holder.

    Raises:
        UserError: the folder cannot be written, or its file system has no locks.
    """
    lock = _lock(folder, "folder")
    with _told(folder):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Claims:
    """The runs of a results folder that this process has claimed for itself. To be used from one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, FileLock] = {}

    def claim(self, run_id: str) -> bool:
        """Return whether a run is this process's from now on; False: another process has it.

        Raises:
            UserError: the folder cannot be written, or its file system has no locks.
        """
        lock = _lock(self._folder, run_id)
        try:
            with _told(self._folder):
                lock.acquire(blocking=False)
        except Timeout:
            return False
        self._held[run_id] = lock
        return True

    def release(self, run_id: str) -> None:
        """Give a run up and take its lock file away."""
        lock = self._held.pop(run_id)
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: who waits for it looks at the name again
        lock.release()

    def release_all(self) -> None:
        """Give every run up."""
        for run_id in list(self._held):
            self.release(run_id)


def _lock(folder: Path, name: str) -> FileLock:
    return FileLock(folder / FOLDER / f"{name}.lock")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", UserWarning
            )  # the library would fall back to files that outlive their process
            yield
    except (NotImplementedError, UserWarning):  # how filelock tells that flock(2) does not work there
        raise UserError(
            f"{folder}: its file system has no locks, so that two commands could not share it. "
            "Give a folder on another one with --results."
        ) from None
    except Timeout:
        raise
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}). Nothing was started; give another folder with --results."
        ) from error
