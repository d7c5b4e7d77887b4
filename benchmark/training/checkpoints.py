"""Checkpoints: the state of a run after a recent epoch, from which an interrupted run resumes."""

from __future__ import annotations

import io
import logging
import random
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from benchmark.errors import UserError
from benchmark.files import write_atomically

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between checkpoints. An interrupted run repeats at most this time and one epoch."""


def snapshot(value: Any) -> Any:
    """Copy nested dicts, lists and tuples, with every tensor copied to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value


def random_state() -> dict[str, Any]:
    """Return the state of every global random generator: PyTorch's on CPU and GPUs, Python's, NumPy's."""
    kind, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(key, dtype=np.int64)), position, has_gauss, gauss),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Restore every global random generator to a state returned by `random_state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    kind, key, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), position, has_gauss, gauss))


class Checkpoints:
    """The last checkpoint of one run, ``<id>.checkpoint``, and the best epoch's weights, ``<id>.best-<epoch>``.

    A thread writes both atomically, the best weights before the state that names them. Files are read with PyTorch's
    ``weights_only=True``. They are locked from `load` to `close`, so that a worker that briefly outlives its parent
    cannot overwrite what its successor reads.

    Args:
        folder: created when needed.
        run_id: id of the run.
        key: everything that must be equal for a resumed run to give the same result as an uninterrupted one (versions,
            images, weights, device). A checkpoint with another key is not used.
        every: seconds between checkpoints; an epoch may be shorter than the time to write one.
    """

    def __init__(self, folder: Path, run_id: str, key: Mapping[str, str], every: float = EVERY) -> None:
        self._folder = folder
        self._id = run_id
        self._key = dict(key)
        self._every = every
        self._due = time.monotonic()
        self._best_on_disk: int | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._state_file = folder / f"{run_id}.checkpoint"
        self._lock = FileLock(f"{self._state_file}.lock", thread_local=False)

    def _best_file(self, epoch: int) -> Path:
        return self._folder / f"{self._id}.best-{epoch}"

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, with the best epoch's state under ``best``, or None if there is no usable one."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            log.warning("the run continues without checkpoints: cannot write %s (%s)", self._folder, error.strerror)
        if not self._state_file.is_file():
            return None
        try:
            state: dict[str, Any] = _read(self._state_file)
            kept = state["identity"]
            different = sorted(k for k in {*kept, *self._key} if kept.get(k) != self._key.get(k))
            if different:
                reason = f"belongs to another {', '.join(different)}"
                log.warning("the run starts from scratch: its checkpoint %s", reason)
                return None
            epoch = state["best_epoch"]
            if epoch is not None:
                state["best"] = _read(self._best_file(epoch))
                self._best_on_disk = epoch
        except Exception as error:  # damaged files may raise anything in zipfile and unpicklers
            log.warning("the run starts from scratch: its checkpoint cannot be read (%s)", error)
            return None
        return state

    def save(self, state: Mapping[str, Any], best_epoch: int | None, best: Mapping[str, Any]) -> None:
        """Replace the last state, unless it is recent; return once the new state is copied, before it is written.

        Args:
            state: nested dicts, lists and tuples of tensors, numbers and text.
            best_epoch: the best epoch so far, or None.
            best: state of the best epoch; copied only if the epoch is new.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._every
        self._finish()
        copied = snapshot({**state, "identity": self._key, "best_epoch": best_epoch})
        new_best = snapshot(best) if best_epoch is not None and best_epoch != self._best_on_disk else None
        self._pending = self._thread.submit(self._write, copied, best_epoch, new_best)

    def _write(self, state: dict[str, Any], best_epoch: int | None, best: dict[str, Any] | None) -> None:
        if best is not None and best_epoch is not None:
            write_atomically(self._best_file(best_epoch), _bytes(best))
        write_atomically(self._state_file, _bytes(state))
        if best_epoch is not None:
            self._best_on_disk = best_epoch
        for file in self._folder.glob(f"{self._id}.best-*"):
            if best_epoch is None or file != self._best_file(best_epoch):
                file.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._pending is None:
            return
        try:
            self._pending.result()
        except UserError as error:
            log.warning("the run continues without this checkpoint: %s", error)
        self._pending = None

    def close(self) -> None:
        """Wait until the last saved state is on disk, then unlock."""
        self._finish()
        self._thread.shutdown()
        self._lock.release()


def _read(path: Path) -> Any:
    """Return the content of a file; only tensors and plain values are unpickled.

    Raises:
        BadZipFile: the file has changed since it was written. PyTorch writes CRC-32 sums, but does not check them when
            it reads tensors.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{path.name}: wrong checksum of {damaged}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _bytes(value: Mapping[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()
