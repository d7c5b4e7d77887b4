"""Progress of runs and preflight: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from benchmark.execution.events import EpochDone, Event, Started, Warned
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DoneRun, RunRecord, UnfinishedRun
from benchmark.words import count


def _outcome(record: RunRecord, title: str, elsewhere: bool) -> str:
    by = " (by another process)" if elsewhere else ""
    if isinstance(record, UnfinishedRun):
        return f"{title}: {record.status}: {record.reason}{by}"
    split, scores = ("test", record.test) if isinstance(record, DoneRun) else ("validation", record.validation)
    return (
        f"{title}: {split} accuracy {scores.accuracy:.3f} "
        f"(epoch {record.best_epoch} of {record.history[-1].epoch}), {record.timing.total_seconds:.0f} s{by}"
    )


class _Bars(Progress):
    """Bars with readings above, because those that a terminal has no room for are cut at the bottom."""

    readings = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.readings:
            yield Text(self.readings, no_wrap=True, overflow="ellipsis")
        yield from super().get_renderables()


class Display:
    """One bar for all runs and one per active run, with epoch, loss, validation accuracy and remaining time.

    Above the bars, lines with the current readings. Without bars, one line per finished run, with the remaining time at
    the current pace; if quiet, only warnings.
    """

    def __init__(self, bars: _Bars, runs: int, title: Callable[[RunSpec], str], *, quiet: bool) -> None:
        self._bars, self._title, self._quiet = bars, title, quiet
        self._lock = threading.Lock()
        self._total, self._done, self._started = runs, 0, time.monotonic()
        self._overall = bars.add_task("all runs", total=runs, detail="", start=False, visible=runs > 0)
        self._runs: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}
        self._prepared: dict[str, TaskID] = {}

    def show_preparation(self, what: str, done: int, total: int) -> None:
        """Update the bar of a preparation, which disappears when complete, or print one line."""
        with self._lock:
            if what not in self._prepared:
                self._prepared[what] = self._bars.add_task(what, total=total, detail="")
                if self._bars.disable:
                    self._print(f"{what} ({total})")
            self._bars.update(self._prepared[what], completed=done, visible=done < total)

    def start_clock(self, workers: int) -> None:
        """Start the clock of all runs."""
        self._started = time.monotonic()
        self._bars.start_task(self._overall)
        self._bars.update(self._overall, detail=f"{workers} at a time")
        if self._bars.disable:
            self._print(f"{self._total} runs, {workers} at a time")

    def set_remaining(self, runs: int) -> None:
        """Set the number of remaining runs."""
        self._total = self._done + runs
        self._bars.update(self._overall, total=self._total)

    def event(self, event: Event) -> None:
        """Show a run's start, latest epoch or warning; without bars only warnings."""
        with self._lock:
            if isinstance(event, Started):
                title = self._titles[event.run_id] = self._title(event.spec)
                self._runs[event.run_id] = self._bars.add_task(title, total=event.epochs, detail="")
            elif isinstance(event, Warned):
                self._print(f"{self._titles.get(event.run_id, event.run_id)}: {event.message}", err=True)
            elif isinstance(event, EpochDone) and event.run_id in self._runs:
                latest = event.epoch
                loss = "" if latest.train_loss is None else f"loss {latest.train_loss:.3f}, "
                detail = f"{loss}validation {latest.val_accuracy:.3f}"
                self._bars.update(self._runs[event.run_id], completed=latest.epoch, detail=detail)

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Remove the run's bar and print its outcome above the bars."""
        with self._lock:
            bar = self._runs.pop(record.id, None)
            if bar is not None:
                self._bars.remove_task(bar)
        self._done += 1
        line = _outcome(record, self._title(record.spec), elsewhere)
        if self._bars.disable:
            left = (time.monotonic() - self._started) / self._done * (self._total - self._done)
            line = f"[{self._done}/{self._total}] {line}; about {left / 60:.1f} min left"
        self._print(line)
        self._bars.advance(self._overall)

    def waiting(self, runs: int) -> None:
        """Print that other processes execute the remaining runs."""
        self._print(f"waiting for {count(runs, 'run')} in other processes")

    def text(self, text: str, *, err: bool = False) -> None:
        """Print text above the bars, or with ``err`` a warning; may be called from any thread."""
        with self._lock:
            self._print(text, err=err)

    @property
    def has_bars(self) -> bool:
        """Whether bars are shown, and readings above them."""
        return not self._bars.disable

    def show_readings(self, lines: str) -> None:
        """Show lines above the bars instead of those shown before; each is cut at the terminal's width."""
        self._bars.readings = lines

    def _print(self, line: str, *, err: bool = False) -> None:
        if self._quiet and not err:
            return
        if self._bars.disable:
            typer.echo(line, err=err)
        else:
            self._bars.console.print(line, highlight=False, markup=False)


@contextmanager
def display(runs: int, title: Callable[[RunSpec], str] = str, *, quiet: bool = False) -> Iterator[Display]:
    """Show progress during the block: bars on a terminal, plain lines elsewhere.

    Args:
        runs: number of runs.
        title: function that describes a run in words.
        quiet: whether to show only warnings.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(),
    )
    with _Bars(*columns, console=Console(), disable=quiet or not sys.stdout.isatty()) as bars:
        try:
            yield Display(bars, runs, title, quiet=quiet)
        finally:
            bars.readings = ""  # the answer follows, or the readings are out of date
