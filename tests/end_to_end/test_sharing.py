"""Several commands on one results folder: each run is executed once, and all end with the same summary."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TRAINING, Commands, wait_for, workers


def executed(out: str) -> list[str]:
    """Return the runs that a command has executed itself, from what it printed."""
    lines = re.findall(r"^\[\d+/\d+\] (.*?): test accuracy (.*)$", out, flags=re.MULTILINE)
    return [run for run, rest in lines if "(by another process)" not in rest]


def summary(out: str) -> str:
    return out[out.index("tiny: ") :]


def share(commands: Commands, matrix: str, number: int) -> list[list[str]]:
    """Start commands at once; return the runs that each has executed."""
    processes = [commands.start("run", "--matrix", matrix, "--workers", "1") for _ in range(number)]
    outputs = [process.communicate(timeout=800) for process in processes]
    assert [process.returncode for process in processes] == [0] * number, outputs
    assert len({summary(out) for out, _ in outputs}) == 1
    return [executed(out) for out, _ in outputs]


def assert_shared(commands: Commands, parts: list[list[str]], runs: int) -> None:
    everything = [run for part in parts for run in part]
    assert len(everything) == len(set(everything)) == runs, "each is executed once"
    assert all(parts), "each command takes its part"
    assert len(commands.records()) == runs
    assert not [path for path in commands.results().rglob("*.lock") if path.stem != "folder"]
    assert commands.run("report", "--check").returncode == 0


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [2, 3])
def test_several_commands_share_24_runs(tmp_path: Path, cache: Path, number: int) -> None:
    commands = Commands(tmp_path, cache)
    matrix = commands.matrix(seeds=list(range(12)), training={**TRAINING, "epochs": 12})
    assert_shared(commands, share(commands, matrix, number), 24)


@pytest.mark.stress
def test_what_a_killed_command_had_claimed_is_taken_over_and_its_worker_is_gone(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    endless: dict[str, Any] = {**TRAINING, "epochs": 300}
    matrix = commands.matrix(seeds=[0], input_modes=["grey-1ch"], training=endless)
    both = [commands.start("run", "--matrix", matrix) for _ in range(2)]
    wait_for(lambda: any((commands.results() / "checkpoints").glob("*.checkpoint")))
    first, second = sorted(both, key=lambda process: not workers(process.pid))  # the second has nothing to execute
    assert second.stdout is not None
    lines = iter(second.stdout.readline, "")
    assert any("waiting for 1 run in other processes" in line for line in lines)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    _, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    (record,) = commands.records().values()
    assert record["timing"]["resumed_after"]
    assert record["timing"]["resumed_after"][0] > 0


@pytest.mark.stress
def test_two_commands_share_the_tuning_runs_choose_the_same_rate_and_share_the_rest(
    tmp_path: Path, cache: Path
) -> None:
    commands = Commands(tmp_path, cache)
    rates = [1e-3, 1e-2]
    training = {**TRAINING, "epochs": 12, "lr": rates}
    matrix = commands.matrix(seeds=list(range(6)), tune_seeds=[100, 101], training=training)
    processes = [commands.start("run", "--matrix", matrix, "--workers", "1") for _ in range(2)]
    outputs = [process.communicate(timeout=800) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({summary(out) for out, _ in outputs}) == 1
    both = r"^\[\d+/\d+\] (.*?): (?:test|validation) accuracy (.*)$"
    parts = [[run for run, rest in re.findall(both, out, re.M) if "by another" not in rest] for out, _ in outputs]
    assert_shared(commands, parts, 8 + 12)
    reported = [
        record["spec"]["stages"][0]["lr"] for record in commands.records().values() if record["status"] == "done"
    ]
    assert len(reported) == 12
    assert len(set(reported)) == 1
