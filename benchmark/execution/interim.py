"""Results of a matrix while its runs are executed: a first table, and readings above the bars."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.errors import UserError
from benchmark.execution.display import Display
from benchmark.execution.events import Event
from benchmark.execution.forecast import uses_cached_features
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import RunRecord

REST = 50
"""Time until the next readings, relative to the time that readings took: they take at most 2 % of the time."""


class Descriptions(NamedTuple):
    """Functions that describe the results on disk as text.

    Attributes:
        floor_table: returns the floor rows.
        readings: returns one line per question, with its differences and their intervals.
        first_table: writes the report and returns its answer and table; None if these are not wanted.
    """

    floor_table: Callable[[], str]
    readings: Callable[[], str]
    first_table: Callable[[], str] | None


class InterimResults:
    """Watcher of runs (`claims.Watcher`) that shows them on a display, and the results that they have so far.

    The first table is shown when the runs on cached features have ended and no floor row is being computed. Readings
    are shown on a terminal only, and again when runs have ended, but not so often that it would slow runs down. Workers
    continue meanwhile. If the results cannot be described, runs continue, and the reason is printed once.

    Args:
        screen: the display.
        descriptions: the results in words.
        computes_floor: returns whether floor rows are being computed.
    """

    def __init__(self, screen: Display, descriptions: Descriptions, computes_floor: Callable[[], bool]) -> None:
        self.screen, self._descriptions, self._computes_floor = screen, descriptions, computes_floor
        self._lock = threading.Lock()
        self._first: set[str] = set()
        self._others: set[str] = set()
        self._expects_table, self._has_failed = False, False
        self._is_outdated, self._next_readings = True, 0.0

    def expect_first_table(self, runs: Sequence[RunSpec]) -> None:
        """Show the first table after those of these runs that use cached features, if there are others too."""
        self._first = {run.id for run in runs if uses_cached_features(run)}
        self._others = {run.id for run in runs} - self._first
        self._expects_table = bool(self._first)

    def event(self, event: Event) -> None:
        """Show an event of a worker, and what is due."""
        self.screen.event(event)
        self._show_due()

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Show the end of a run, and what is due."""
        self.screen.finished(record, elsewhere=elsewhere)
        self._first.discard(record.id)
        self._others.discard(record.id)
        self._is_outdated = True
        self._show_due()

    def waiting(self, runs: int) -> None:
        """Show that all remaining runs belong to other processes."""
        self.screen.waiting(runs)

    def _show_due(self) -> None:
        if not self._lock.acquire(blocking=False):  # another thread shows it
            return
        try:
            if self._expects_table and self._others and not self._first and not self._computes_floor():
                self._expects_table = False
                if self._descriptions.first_table is not None:
                    self._show(self._descriptions.first_table, self.screen.text)
            if self.screen.has_bars and self._is_outdated and time.monotonic() >= self._next_readings:
                self._is_outdated, started = False, time.monotonic()
                self._show(self._descriptions.readings, self.screen.show_readings)
                self._next_readings = time.monotonic() + REST * (time.monotonic() - started)
        finally:
            self._lock.release()

    def _show(self, describe: Callable[[], str], show: Callable[[str], None]) -> None:
        try:
            show(describe())
        except Exception as error:
            if not self._has_failed:
                reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                self.screen.text(f"the results so far cannot be shown, and runs continue: {reason}", err=True)
            self._has_failed = True
