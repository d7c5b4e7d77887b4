"""Results while a matrix is executed, by real commands: the first table, and readings on a terminal."""

from __future__ import annotations

import csv
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TRAINING, Commands

MATRIX: dict[str, Any] = {"input_modes": ["grey-1ch"], "seeds": [0, 1]}


@pytest.fixture
def commands(tmp_path: Path, cache: Path) -> Commands:
    return Commands(tmp_path, cache)


@pytest.mark.slow
def test_the_first_table_is_printed_and_reported_before_a_network_is_trained_and_survives_a_kill(
    commands: Commands,
) -> None:
    long = {**TRAINING, "epochs": 1000}
    matrix = commands.matrix(**MATRIX, policies=["finetune", "feature-extract"], training=long)
    process = commands.start("run", "--matrix", matrix, "--workers", "1")
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("preliminary report: "):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert {record["spec"]["policy"] for record in commands.records().values()} == {"feature-extract"}
    text = "".join(printed)
    assert (
        text.index("floor rows: ") < text.index("Preliminary: 2 of 4 runs are done.") < text.index("test accuracy in %")
    )
    start = "**Preliminary:** 2 of 4 runs are done."
    assert start in (commands.results() / "report.md").read_text().partition("## Test accuracy")[0]
    assert "Preliminary" in (commands.results() / "report.html").read_text()
    checked = commands.run("report", "--check")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_a_terminal_shows_the_reading_of_a_question_with_its_interval_and_a_complete_report_is_unmarked(
    commands: Commands,
) -> None:
    matrix = commands.matrix(**MATRIX, policies=["finetune", "finetune-whole"])
    assert commands.run("run", "--matrix", matrix, "--only", "seed=0").returncode == 0
    with (commands.results() / "differences.csv").open() as file:
        ((difference, half_width),) = (
            (float(row["difference"]), float(row["half_width_95"]))
            for row in csv.DictReader(file)
            if row["headline"] == "yes"
        )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", "--matrix", matrix],
        cwd=commands.folder,
        env=commands.environment,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # the terminal's end on Linux
        pass
    finally:
        os.close(master)
    text = shown.decode()
    assert process.wait() == 0, text
    line = r"everything at once\? finetune − finetune-whole (\S+) ± (\S+) points on shape-control \(1 seed\)"
    (shown_points,) = set(re.findall(line, text))
    shares = [float(points.replace("−", "-")) / 100 for points in shown_points]
    assert shares == pytest.approx([difference, half_width], abs=0.0006)
    assert "Preliminary" not in (commands.results() / "report.md").read_text()
