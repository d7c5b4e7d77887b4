"""A disk that is full, a folder that cannot be written, records that are damaged: told, and nothing is lost."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmark.cli import app
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix import file as matrix_file
from benchmark.matrix.expand import expand
from benchmark.records.store import Store
from tests import factories
from tests.commands import TRAINING, Commands


@contextlib.contextmanager
def mounted(folder: Path, kilobytes: int) -> Iterator[None]:
    """Have a small file system at a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> tuple[Commands, str]:
    commands = Commands(tmp_path, cache)
    return commands, commands.matrix(input_modes=["grey-1ch"], training={**TRAINING, "epochs": 1})


@pytest.mark.stress  # mounts file systems: needs root
def test_on_a_full_disk_and_in_a_folder_that_cannot_be_written_run_stops_with_a_message_and_loses_nothing(
    small: tuple[Commands, str],
) -> None:
    commands, matrix = small
    with mounted(commands.folder / "results", 16_000):
        done = commands.run("run", "--matrix", matrix, "--only", "seed=0")
        assert done.returncode == 0, done.stderr
        before = commands.records()
        filler = commands.folder / "results" / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
        full = commands.run("run", "--matrix", matrix, "--workers", "1")
        assert full.returncode == 2
        assert "No space left on device" in full.stderr
        assert "Traceback" not in full.stderr
        assert commands.records() == before
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(commands.folder / "results")], check=True)
        refused = commands.run("run", "--matrix", matrix, "--workers", "1")
        assert refused.returncode == 2
        assert "Read-only file system" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
        assert commands.run("run", "--matrix", matrix, "--only", "seed=0").returncode == 0, "nothing is to be written"
        assert commands.run("status", "--matrix", matrix).returncode == 0
        subprocess.run(["mount", "-o", "remount,rw", str(commands.folder / "results")], check=True)
        finished = commands.run("run", "--matrix", matrix)
        assert finished.returncode == 0, finished.stderr
        assert {run: record for run, record in commands.records().items() if run in before} == before


def invoked(*arguments: str) -> Result:
    """Return how a verb ended that is executed in this process: without the seconds that importing everything takes."""
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.slow
def test_damaged_files_are_named_by_status_and_report_and_run_makes_them_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(tmp_path, cache)
    file = commands.matrix(input_modes=["grey-1ch"])
    monkeypatch.chdir(commands.folder)
    matrix, store = matrix_file.load(Path(file)), Store(commands.results())
    correct = factories.latent()
    for run in expand(matrix):
        store.save(*factories.record_of(run, correct(run)))
    write_atomically(store.folder / "matrix.yaml", matrix_file.dump(matrix).encode())
    record, other = sorted(store.records.glob("*.json"))
    record.write_bytes(record.read_bytes()[:700])
    for verb in (["status", "--matrix", file], ["report"], ["report", "--check"]):
        told = invoked(*verb)
        assert (told.exit_code, type(told.exception)) == (1, SystemExit), verb
        assert record.name in told.output
    assert f"records/{record.name}" in (store.folder / "report.md").read_text()
    table = other.with_suffix(".parquet")
    table.write_bytes(table.read_bytes()[:-100])
    status = invoked("status", "--matrix", file)
    assert status.exit_code == 1
    assert table.name in status.stdout
    refused = invoked("report").exception
    assert isinstance(refused, UserError)
    assert table.name in str(refused)
    again = commands.run("run", "--matrix", file, "--force")
    assert again.returncode == 0, again.stderr
    assert invoked("status", "--matrix", file).exit_code == 0
