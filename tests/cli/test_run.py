"""``run`` without runs to execute, in this process, so that its reads can be counted."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmark.cli import app
from benchmark.files import write_atomically
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import locks
from benchmark.records.store import Store
from tests import factories
from tests.commands import Commands


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Made:
    """A matrix of two seeds with the record of the first, and its floor rows."""

    def __init__(self, folder: Path) -> None:
        commands = Commands(folder, folder / "cache")
        self.file = commands.matrix(input_modes=["grey-1ch"])
        self.store = Store(commands.results())
        matrix = file.load(Path(self.file))
        self.correct = factories.latent()
        self.first, self.second = expand(matrix)
        self.save(self.first)
        factories.save_floor(self.store.folder, [self.first])
        write_atomically(self.store.matrix, file.dump(matrix).encode())

    def save(self, run: RunSpec) -> None:
        self.store.save(*factories.record_of(run, self.correct(run)))

    def run(self) -> Result:
        return CliRunner().invoke(app, ["run", "--matrix", self.file, "--only", "seed=0"])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.chdir(tmp_path)
    return Made(tmp_path)


def report_agrees() -> bool:
    return CliRunner().invoke(app, ["report", "--check"]).exit_code == 0


def test_a_run_makes_its_plan_twice_opens_each_prediction_file_once_and_writes_the_report(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def count(name: str) -> None:
        method = getattr(Store, name)

        def counted(*arguments: Any) -> Any:
            calls.append(name)
            return method(*arguments)

        monkeypatch.setattr(Store, name, counted)

    count("scan")  # called by `make_plan` alone
    count("predictions")
    done = made.run()
    assert done.exit_code == 0, done.output
    assert sorted(calls) == ["predictions", "scan", "scan"]
    assert report_agrees()


def test_a_report_holds_what_another_command_records_just_before_it_is_written(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = locks.folder_locked

    @contextlib.contextmanager
    def locked_after_another(folder: Path) -> Iterator[None]:
        made.save(made.second)
        with locked(folder):
            yield

    monkeypatch.setattr(locks, "folder_locked", locked_after_another)
    done = made.run()
    assert done.exit_code == 0, done.output
    assert report_agrees()


def test_an_interrupt_inside_an_exec_of_text_exits_130_and_not_by_the_signal(tmp_path: Path) -> None:
    script = """
import sys
from benchmark.cli import main
from benchmark.records import selection
def interrupted(*arguments, **options):
    exec("raise KeyboardInterrupt")  # as in a dataclass whose methods are being made when Ctrl-C comes
selection.select = interrupted
sys.argv[1:] = ["run"]
main()
"""
    (tmp_path / "interrupted.py").write_text(script)  # run by -m, as the benchmark is: only then the signal matters
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.splitlines()[0].partition(".")[0]) == (130, "interrupted")
