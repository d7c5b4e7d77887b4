"""Progress of `run` and of preflight: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmark.execution.events import EpochDone, Event, Started, Warned
from benchmark.records.record import DoneRun, RunRecord
from benchmark.words import count


def _outcome(record: RunRecord, elsewhere: bool) -> str:
    by = " (by another process)" if elsewhere else ""
    if not isinstance(record, DoneRun):
        return f"{record.spec}: {record.status}: {record.reason}{by}"
    return (
        f"{record.spec}: test accuracy {record.test.accuracy:.3f} "
        f"(epoch {record.best_epoch} of {len(record.history)}), {record.timing.total_seconds:.0f} s{by}"
    )


def _waiting(runs: int) -> str:
    return f"waiting for {count(runs, 'run')} that other processes execute"


class PlainDisplay:
    """One line per finished run, with the time left at the pace so far."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0
        self._prepared: set[str] = set()
        self._started = time.monotonic()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Print one line per thing that is prepared."""
        if what not in self._prepared:
            self._prepared.add(what)
            typer.echo(f"{what} ({total})")

    def starting(self, workers: int) -> None:
        """Print that execution begins, and start the clock."""
        self._started = time.monotonic()
        typer.echo(f"{self._runs} runs, {workers} at a time")

    def event(self, event: Event) -> None:
        """Print a warning; nothing else is shown while a run is executed."""
        if isinstance(event, Warned):
            typer.echo(f"{event.run_id}: {event.message}", err=True)

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Print the outcome of a run."""
        self._done += 1
        left = (time.monotonic() - self._started) / self._done * (self._runs - self._done)
        typer.echo(f"[{self._done}/{self._runs}] {_outcome(record, elsewhere)}; about {left / 60:.1f} min left")

    def waiting(self, runs: int) -> None:
        """Print that other processes execute the rest."""
        typer.echo(_waiting(runs))


class LiveDisplay:
    """One bar for all runs, and one per run under way: epoch, loss, validation accuracy, time left."""

    def __init__(self, progress: Progress, runs: int) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._overall = progress.add_task("all runs", total=runs, detail="", start=False)
        self._runs: dict[str, TaskID] = {}
        self._prepared: dict[str, TaskID] = {}

    def preparing(self, what: str, done: int, total: int) -> None:
        """Update the bar of something that is prepared; it disappears when complete."""
        with self._lock:
            if what not in self._prepared:
                self._prepared[what] = self._progress.add_task(what, total=total, detail="")
            self._progress.update(self._prepared[what], completed=done, visible=done < total)

    def starting(self, workers: int) -> None:
        """Start the clock of all runs."""
        self._progress.start_task(self._overall)
        self._progress.update(self._overall, detail=f"{workers} at a time")

    def event(self, event: Event) -> None:
        """Show a run's start, its latest epoch, or a warning."""
        with self._lock:
            if isinstance(event, Started):
                self._runs[event.run_id] = self._progress.add_task(event.title, total=event.epochs, detail="")
            elif isinstance(event, Warned):
                self._print(f"{event.run_id}: {event.message}")
            elif isinstance(event, EpochDone) and event.run_id in self._runs:
                latest = event.epoch
                detail = f"loss {latest.train_loss:.3f}, validation {latest.val_accuracy:.3f}"
                self._progress.update(self._runs[event.run_id], completed=latest.epoch, detail=detail)

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Remove the run's bar, and print its outcome above the bars."""
        with self._lock:
            bar = self._runs.pop(record.id, None)
            if bar is not None:
                self._progress.remove_task(bar)
        self._print(_outcome(record, elsewhere))
        self._progress.advance(self._overall)

    def waiting(self, runs: int) -> None:
        """Print that other processes execute the rest."""
        self._print(_waiting(runs))

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False)


@contextmanager
def display(runs: int) -> Iterator[PlainDisplay | LiveDisplay]:
    """Show progress while the block runs: live on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield PlainDisplay(runs)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console()) as progress:
        yield LiveDisplay(progress, runs)
