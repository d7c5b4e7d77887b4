"""What `run` shows while it works: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmark.executors.events import EpochDone, Event, Started, Warned
from benchmark.records import EpochRecord, RunRecord

ELSEWHERE = " (by another process)"


def waiting_line(runs: int) -> str:
    """Return one line about runs that other processes execute."""
    return f"waiting for {runs} run{'s' if runs != 1 else ''} that other processes execute"


def outcome_line(record: RunRecord) -> str:
    """Return one line about a finished run."""
    if record.status != "done" or record.test is None or record.timing is None:
        return f"{record.spec}: {record.status}: {record.reason}"
    return (
        f"{record.spec}: test accuracy {record.test.accuracy:.3f} "
        f"(epoch {record.best_epoch} of {len(record.history)}), {record.timing.total_seconds:.0f} s"
    )


class PlainDisplay:
    """One line a finished run, with the time that is left by the pace so far."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0
        self._prepared: set[str] = set()
        self._started = time.monotonic()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Tell once for each thing that is prepared."""
        if what not in self._prepared:
            self._prepared.add(what)
            typer.echo(f"{what} ({total})")

    def starting(self, runs: int, workers: int) -> None:
        """Tell that execution begins."""
        self._started = time.monotonic()
        typer.echo(f"{runs} runs, {workers} at a time")

    def event(self, event: Event) -> None:
        """Tell warnings; epochs are not shown one by one."""
        if isinstance(event, Warned):
            typer.echo(f"{event.run_id}: {event.message}", err=True)

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Tell about a finished run."""
        self._done += 1
        left = (time.monotonic() - self._started) / self._done * (self._runs - self._done)
        line = outcome_line(record) + (ELSEWHERE if elsewhere else "")
        typer.echo(f"[{self._done}/{self._runs}] {line}; about {left / 60:.1f} min left")

    def waiting(self, runs: int) -> None:
        """Tell that other processes have the rest."""
        typer.echo(waiting_line(runs))


class LiveDisplay:
    """An overall bar, and one a run under way: epoch, loss, validation accuracy, time left."""

    def __init__(self, progress: Progress, runs: int) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._overall = progress.add_task("all runs", total=runs, detail="", start=False)
        self._runs: dict[str, TaskID] = {}
        self._prepared: dict[str, TaskID] = {}

    def preparing(self, what: str, done: int, total: int) -> None:
        """Move the bar of one thing that is prepared."""
        with self._lock:
            if what not in self._prepared:
                self._prepared[what] = self._progress.add_task(what, total=total, detail="")
            self._progress.update(self._prepared[what], completed=done, visible=done < total)

    def starting(self, runs: int, workers: int) -> None:
        """Start the overall clock."""
        self._progress.start_task(self._overall)
        self._progress.update(self._overall, detail=f"{workers} at a time")

    def event(self, event: Event) -> None:
        """Show a run's start, or its latest epoch."""
        with self._lock:
            if isinstance(event, Started):
                self._runs[event.run_id] = self._progress.add_task(event.title, total=event.epochs, detail="")
            elif isinstance(event, Warned):
                self._print(f"{event.run_id}: {event.message}")
            elif isinstance(event, EpochDone) and event.run_id in self._runs:
                self._progress.update(
                    self._runs[event.run_id], completed=event.epoch.epoch, detail=self._latest(event.epoch)
                )

    @staticmethod
    def _latest(epoch: EpochRecord) -> str:
        return f"loss {epoch.train_loss:.3f}, validation {epoch.val_accuracy:.3f}"

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        """Take the run's bar away and print its outcome above the bars."""
        with self._lock:
            bar = self._runs.pop(record.id, None)
            if bar is not None:
                self._progress.remove_task(bar)
        self._print(outcome_line(record) + (ELSEWHERE if elsewhere else ""))
        self._progress.advance(self._overall)

    def waiting(self, runs: int) -> None:
        """Tell that other processes have the rest."""
        self._print(waiting_line(runs))

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
