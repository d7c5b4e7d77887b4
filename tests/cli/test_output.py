"""What a command prints cannot fail: every character, every encoding, no reader, no room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Commands

PRINTING = """
import sys, typer
from benchmark import cli

@cli.app.command("say")
def say() -> None:
    typer.echo("Röntgen 工 ★ \\udcf6 " * 4)
    for number in range(20_000):
        typer.echo(f"line {number}")
    typer.echo("said", err=True)

sys.argv[1:] = ["say"]
cli.main()
"""


def said(encoding: str, output: int) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", PRINTING]
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False, env=environment)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16", "latin-1:strict"])
def test_a_character_that_the_output_lacks_is_escaped(encoding: str) -> None:
    done = said(encoding, subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding.partition(":")[0])
    for letters in ("Röntgen", "line 19999", "\\udcf6", "工" if "utf" in encoding else "\\u5de5"):
        assert letters in text


def test_a_command_goes_on_without_its_reader() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = said("utf-8", writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"said\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is full")
def test_a_full_disk_under_the_output_is_an_error_and_no_traceback() -> None:
    with Path("/dev/full").open("wb") as full:
        done = said("utf-8", full.fileno())
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "said",
        "error: standard output: cannot be written (No space left on device); what was printed is not complete.",
    ]


@pytest.mark.slow
def test_closed_streams_stop_neither_a_command_nor_its_processes(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    arguments = f"-m benchmark plan --preflight --matrix {commands.matrix(seeds=[0], input_modes=['grey-1ch'])}"
    command = ["sh", "-c", f'exec "$0" {arguments} <&- >&- 2>&-', sys.executable]
    assert subprocess.run(command, cwd=tmp_path, env=commands.environment, check=False).returncode == 0


def test_names_of_files_that_are_read_in_another_encoding_than_utf_8_are_refused() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "benchmark", "datasets", "list"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Set PYTHONUTF8=1." in done.stderr
