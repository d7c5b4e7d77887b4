"""Floor rows of a command, computed in a low-priority process while its runs are prepared and executed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.execution.side_process import call_in_side_process
from benchmark.records.floor import FloorRow, FloorStore, PlannedRow
from benchmark.records.record import PredictionTable

NICENESS = 10
"""Increase of the process's niceness. If runs need every processor, it takes a tenth of one from them."""

Computed = tuple[FloorRow, PredictionTable]


class _EndedError(Exception):
    """The rows are not needed any more, because the command has ended."""


class FloorRows:
    """Missing floor rows, computed and saved in the background until the end of a ``with`` block.

    Args:
        planned: rows that the command needs.
        store: floor rows of the results folder.
        data_dir: value of ``--data-dir``.
        from_scratch: whether to compute done rows again even if their images have not changed.
    """

    def __init__(
        self, planned: Sequence[PlannedRow], store: FloorStore, data_dir: Path | None, *, from_scratch: bool = False
    ) -> None:
        self._planned = [PlannedRow(each.spec, None) if from_scratch else each for each in planned]
        self._store, self._data_dir = store, data_dir
        self._unsaved: list[Computed] = []
        self._saved = 0
        self._problems: list[str] = []
        self._may_save = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="floor rows", daemon=True)

    def __enter__(self) -> FloorRows:
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        self._may_save.set()

    @property
    def are_missing(self) -> bool:
        """Whether any row is not done."""
        return any(each.state != "done" for each in self._planned)

    @property
    def is_active(self) -> bool:
        """Whether it computes or saves rows."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the computation, which reads the datasets' indexes; nothing is saved yet."""
        self._thread.start()

    def save(self, done: Callable[[], None]) -> None:
        """Start saving rows; call ``done`` in another thread when all are saved, if there are any."""
        self._done = done
        self._may_save.set()

    def wait(self) -> list[str]:
        """Wait until the rows are saved, if they were started; return a message for each row that was not saved."""
        if self._thread.ident is not None:
            self._thread.join()
        return self._problems

    def _work(self) -> None:
        try:
            call_in_side_process(compute_rows, self._planned, self._data_dir, progress=self._receive)
            self._may_save.wait()
            self._save()
            if self._saved and not self._is_over:
                self._done()
        except _EndedError:
            pass
        except Exception as error:
            self._problems.append(_in_words("floor rows", error))

    def _receive(self, found: Computed | str) -> None:
        if self._is_over:
            raise _EndedError
        if isinstance(found, str):
            self._problems.append(found)
        else:
            self._unsaved.append(found)
        if self._may_save.is_set():
            self._save()

    def _save(self) -> None:
        while self._unsaved and not self._is_over:
            self._store.save(*self._unsaved.pop(0))
            self._saved += 1


def compute_rows(
    planned: Sequence[PlannedRow], data_dir: Path | None, *, progress: Callable[[Computed | str], None]
) -> None:
    """Compute rows at low priority, except rows already done on the same images.

    Args:
        planned: the rows.
        data_dir: value of ``--data-dir``.
        progress: called with each row and its test predictions, or with the reason why it is missing.
    """
    from benchmark.training.floor import compute_row, load_floor_images

    os.nice(NICENESS)
    datasets: dict[object, list[PlannedRow]] = {}
    for each in planned:
        datasets.setdefault(each.spec.images, []).append(each)
    for rows in datasets.values():
        try:
            data = load_floor_images(rows[0].spec, data_dir)
        except Exception as error:
            progress(_in_words(f"floor rows of {rows[0].spec.dataset}", error))
            continue
        for each in rows:
            if each.row is not None and each.row.fingerprint == data.fingerprint:
                continue
            found: Computed | str
            try:
                found = compute_row(each.spec, data)
            except Exception as error:
                found = _in_words(f"floor row {each.spec.method} of {each.spec.dataset}", error)
            progress(found)


def _in_words(what: str, error: Exception) -> str:
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return f"{what}: {reason}"
