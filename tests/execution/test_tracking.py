"""Trackers have the numbers of the records, and cost a run nothing when they fail.

trackio asks for another Pillow than the benchmark is tested with, so it is found below TRACKIO_PACKAGES, a folder of
`pip install --target`, which comes last.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmark.errors import UserError
from benchmark.execution import tracking
from benchmark.execution.events import Event, Started, Warned
from benchmark.execution.tracking import TrackedRuns, require_tracker
from benchmark.records.record import RunRecord
from benchmark.training.context import now
from tests.commands import Commands
from tests.factories import context, matrix, outcomes, run_locally, tiny_runs

FAKE = """
import time

class Run:
    def log(self, values, step):
        {log}

    def finish(self):
        {finish}

class Config:
    def update(self, values, allow_val_change):
        pass

config = Config()

def init(project, name):
    return Run()
"""


class Remembered:
    """A watcher that keeps warnings and records."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.records: list[RunRecord] = []

    def event(self, event: Event) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.message)

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        self.records.append(record)

    def waiting(self, runs: int) -> None:
        raise AssertionError("no other command runs")


def expected_values(record: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Return the numbers that a tracker has of a run: by name, then by step."""
    found: dict[str, dict[int, float]] = {}
    for epoch in record["history"]:
        for name, value in epoch.items():
            if name != "epoch" and value is not None:
                found.setdefault(name, {})[epoch["epoch"]] = value
    for name, value in record["test"].items():
        if value is not None:
            found[f"test_{name}"] = {record["best_epoch"]: value}
    return found


def without_times(records: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return records without times."""
    for record in records.values():
        for field in ("started_at", "finished_at", "timing", "memory"):
            del record[field]
        for epoch in record["history"]:
            del epoch["train_seconds"]
    return dict(records)


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Give a folder with a command's files."""
    return Commands(tmp_path, tmp_path_factory.getbasetemp() / "cache of tracked runs")


@pytest.mark.slow
def test_tensorboard_has_the_numbers_of_the_records_and_changes_none(project: Commands) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = project.matrix(seeds=[0])
    done = project.run("run", "--matrix", path, "--track", "tensorboard")
    assert done.returncode == 0, done.stderr
    assert "--track" not in done.stderr
    records = project.records()
    folder = project.results() / "tracking" / "tensorboard"
    assert len(records) == len(list(folder.iterdir())) == 2
    for run, record in records.items():
        (of_run,) = folder.glob(f"*-{run}")
        read = EventAccumulator(str(of_run))
        read.Reload()
        values = expected_values(record)
        assert set(read.Tags()["scalars"]) == set(values)
        for name, by_step in values.items():
            found = {event.step: event.value for event in read.Scalars(name)}
            assert found == {step: float(np.float32(value)) for step, value in by_step.items()}
        (settings,) = of_run.glob("*/hparams.yml")
        assert f"seed: {record['spec']['seed']}\n" in settings.read_text()
    untracked = project.run("run", "--matrix", path, "--name", "untracked")
    assert untracked.returncode == 0, untracked.stderr
    assert without_times(records) == without_times(project.records("untracked"))
    checked = project.run("report", "--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_trackio_has_the_numbers_of_the_records(project: Commands) -> None:
    packages = os.environ.get("TRACKIO_PACKAGES")
    if packages is None:
        pytest.skip("TRACKIO_PACKAGES names no folder with trackio: pip install --target FOLDER trackio")
    start = f"import sys; sys.path.append({packages!r}); from benchmark.cli import main; main()"
    project.environment["PYTHONPATH"] = str(Path(tracking.__file__).parents[2])
    command = [sys.executable, "-c", start, "run", "--matrix", project.matrix(seeds=[0]), "--track", "trackio"]
    done = subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--track" not in done.stderr
    with closing(sqlite3.connect(project.results() / "tracking" / "trackio" / "tiny.db")) as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
        settings = dict(database.execute("select run_name, config from configs").fetchall())
    for run, record in project.records().items():
        found: dict[str, dict[int, float]] = {}
        for name, step, metrics in rows:
            if name.endswith(run):
                for key, value in json.loads(metrics).items():
                    found.setdefault(key, {})[step] = value
        assert found == expected_values(record)
        (config,) = [json.loads(text) for name, text in settings.items() if name.endswith(run)]
        assert config["seed"] == record["spec"]["seed"]


@pytest.mark.slow
def test_a_run_that_is_resumed_has_its_earlier_epochs_too(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watcher = Remembered()
    (run, _) = tiny_runs(epochs=3)
    (ended,) = outcomes(run_locally, [run], context(tmp_path / "run")).values()
    with TrackedRuns(watcher, "tensorboard", matrix(), tmp_path) as tracked:
        tracked.event(Started(run.id, run, 3, now()))
        tracked.finished(ended.record)
    assert watcher.warnings == []
    (of_run,) = (tmp_path / "tracking" / "tensorboard").iterdir()
    read = EventAccumulator(str(of_run))
    read.Reload()
    assert [event.step for event in read.Scalars("val_loss")] == [0, 1, 2, 3]


def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str = "pass", finish: str = "pass") -> Remembered:
    """Track two runs one after the other with a tracker that does this; both must end as without it."""
    (tmp_path / "trackio.py").write_text(FAKE.format(log=log, finish=finish))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    watcher = Remembered()
    with TrackedRuns(watcher, "trackio", matrix(), tmp_path) as tracked:
        for run in tiny_runs(epochs=40):
            (ended,) = outcomes(run_locally, [run], context(tmp_path / run.id), on_event=tracked.event).values()
            tracked.finished(ended.record)
    assert [record.status for record in watcher.records] == ["done", "done"]
    return watcher


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"log": "raise ValueError('no room')"}, "ValueError: no room"),
        ({"log": "import os; os._exit(3)"}, "its process ended with exit code 3"),
        ({"log": "time.sleep(1000)"}, "it did not end within 1 seconds"),
        ({"finish": "raise OSError('unreachable')"}, "OSError: unreachable"),
    ],
    ids=["raises", "ends", "hangs", "fails at its end"],
)
def test_a_tracker_that_fails_is_one_warning_and_runs_continue(
    what: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    watcher = follow(tmp_path, monkeypatch, **what)
    assert watcher.warnings == [f"--track trackio: {message}. Runs continue and are not tracked."]
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_no_process_of_a_tracker_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    assert follow(tmp_path, monkeypatch).warnings == []
    after = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert all("forkserver" in " ".join(p.cmdline()) or "resource_tracker" in " ".join(p.cmdline()) for p in after)
    assert len(after) <= 2


def test_a_tracker_that_is_not_installed_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(UserError, match=r"--track trackio: trackio is not installed\. Install it with pip install"):
        require_tracker("trackio")
