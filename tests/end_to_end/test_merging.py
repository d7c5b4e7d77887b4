"""A matrix made in two halves by real commands, merged, and compared with what one command and two threads make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import Commands

MATRIX: dict[str, Any] = {"policies": ["finetune", "scratch"], "seeds": [0, 1, 2]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_halves_made_apart_merge_into_the_results_of_one_command(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    matrix = commands.matrix(**MATRIX)
    for where, only in (("one", ()), ("alice", ("seed=0", "seed=2")), ("bob", ("seed=1",))):
        selectors = [word for each in only for word in ("--only", each)]
        done = commands.run("run", "--matrix", matrix, "--results", where, *selectors)
        assert done.returncode == 0, done.stderr
    merged = commands.run("merge", "alice/tiny", "bob/tiny", "--into", "results/tiny")
    assert (merged.returncode, merged.stderr) == (0, "")
    assert commands.run("report", "--check").returncode == 0
    assert "12 done" in commands.run("status", "--matrix", matrix).stdout
    compared = commands.run("compare", "one/tiny", "results/tiny")
    assert compared.returncode == 0, compared.stderr
    assert "12 runs are done in both; the predictions of 12 are equal to the last bit." in compared.stdout
    differences = [(tmp_path / where / "tiny" / "differences.csv").read_bytes() for where in ("one", "results")]
    assert differences[0] == differences[1]

    threads = commands.run("run", "--matrix", matrix, "--set", "threads=2", "--results", "threads", "--workers", "1")
    assert threads.returncode == 0, threads.stderr
    drift = commands.run("compare", "one/tiny", "threads/tiny", "--into", "drift")
    assert drift.returncode in (0, 1), drift.stderr
    assert "| threads | 1 | 2 |" in drift.stdout
    assert "12 runs are done in both" in drift.stdout
    assert {path.name for path in (tmp_path / "drift").iterdir()} == {
        *("comparison.md", "comparison.csv", "comparison.svg", "comparison.png")
    }
    conflict = commands.run("merge", "one/tiny", "threads/tiny", "--into", "mixed")
    assert conflict.returncode == 2
    assert "another matrix" in conflict.stderr
    assert not (tmp_path / "mixed").exists()
