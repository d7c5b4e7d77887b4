"""Results while runs are executed: the first table, and readings on a terminal."""

from __future__ import annotations

import os
import pty
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from benchmark.errors import UserError
from benchmark.execution.display import display
from benchmark.execution.events import Started
from benchmark.execution.interim import REST, Descriptions, InterimResults
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from tests import factories

RUNS = expand(factories.matrix(weights="hub", policies=["feature-extract", "finetune"], seeds=[0, 1]))
HEADS = [run for run in RUNS if run.policy == "feature-extract"]
OTHERS = [run for run in RUNS if run.policy == "finetune"]


class Results:
    """Descriptions that count how often they are made."""

    def __init__(self) -> None:
        self.tables = self.readings = 0
        self.floor_is_active = False
        self.seconds = 0.0
        self.error: Exception | None = None

    def _table(self) -> str:
        self.tables += 1
        if self.error:
            raise self.error
        return "the first table"

    def _readings(self) -> str:
        self.readings += 1
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return f"reading {self.readings}"

    def watcher(self, screen: object) -> InterimResults:
        descriptions = Descriptions(str, self._readings, self._table)
        watcher = InterimResults(screen, descriptions, lambda: self.floor_is_active)  # type: ignore[arg-type]  # a screen that notes what it is given
        watcher.expect_first_table(RUNS)
        return watcher


def end(run: RunSpec, watcher: InterimResults, *, elsewhere: bool = False) -> None:
    watcher.finished(factories.record_of(run, factories.latent()(run))[0], elsewhere=elsewhere)


def start(run: RunSpec, watcher: InterimResults) -> None:
    watcher.event(Started(run.id, run, 3, "2026-01-01T00:00:00+00:00"))


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make standard output a terminal; the list gets what is written to it, complete at the end of the block."""
    master, slave = pty.openpty()
    shown: list[str] = []

    def read() -> None:
        with suppress(OSError):  # the terminal was closed
            while data := os.read(master, 65536):
                shown.append(data.decode(errors="replace"))

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(slave, "w") as out:
        patch.setattr(sys, "stdout", out)
        yield shown
    reader.join()
    os.close(master)


def test_the_first_table_is_shown_once_when_heads_here_and_elsewhere_and_the_floor_rows_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = Results()
    with display(len(RUNS)) as screen:
        watcher = results.watcher(screen)
        results.floor_is_active = True
        end(HEADS[0], watcher)
        end(HEADS[1], watcher, elsewhere=True)
        assert results.tables == 0
        results.floor_is_active = False
        start(OTHERS[0], watcher)
        assert capsys.readouterr().out.splitlines()[-1] == "the first table"
        for run in OTHERS:
            end(run, watcher)
    assert results.tables == 1
    assert results.readings == 0, "only a terminal has room for them"


@pytest.mark.parametrize("runs", [HEADS, OTHERS])
def test_there_is_no_first_table_without_heads_or_without_other_runs(runs: list[RunSpec]) -> None:
    results = Results()
    with display(len(runs), quiet=True) as screen:
        watcher = results.watcher(screen)
        watcher.expect_first_table(runs)
        for run in runs:
            end(run, watcher)
    assert results.tables == 0


def test_results_that_cannot_be_read_do_not_stop_the_runs_and_are_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = Results()
    results.error = UserError("x.parquet: damaged")
    with terminal(monkeypatch) as shown, display(len(RUNS)) as screen:
        watcher = results.watcher(screen)
        for run in (*HEADS, *OTHERS):
            end(run, watcher)
    assert (results.tables, results.readings > 0) == (1, True)
    assert "".join(shown).count("x.parquet: damaged") == 1


def test_on_a_terminal_readings_are_above_the_bars_and_rest_fifty_times_as_long_as_they_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = Results()
    results.seconds = 0.02
    with terminal(monkeypatch) as shown, display(len(RUNS)) as screen:
        watcher = results.watcher(screen)
        begun = time.monotonic()
        start(OTHERS[0], watcher)
        while results.readings < 2:
            assert time.monotonic() < begun + 60
            watcher.finished(factories.record_of(HEADS[0], factories.latent()(HEADS[0]))[0])
        assert time.monotonic() - begun > REST * results.seconds
        time.sleep(0.3)  # the bars are drawn ten times per second
    assert "reading 1" in "".join(shown)
    assert "reading 2" in "".join(shown)
