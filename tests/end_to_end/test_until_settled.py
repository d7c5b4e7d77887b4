"""Seeds that are taken until a dataset is settled, by real commands: alone, killed, and together."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Commands, wait_for

RULE = {"at_least": 3, "at_most": 4, "until": "settled"}
MATRIX: dict[str, Any] = {"seeds": RULE, "input_modes": ["grey-1ch"], "policies": ["finetune", "finetune-whole"]}


def folder(path: Path, cache: Path) -> Commands:
    path.mkdir()
    return Commands(path, cache)


def taken(commands: Commands) -> tuple[bytes, set[str]]:
    """Return the looks, and the ids of the done runs."""
    return (commands.results() / "looks.json").read_bytes(), set(commands.records())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_a_look_or_shared_by_two_commands_it_takes_the_seeds_of_one_undisturbed_command(
    tmp_path: Path, cache: Path
) -> None:
    calm, killed, shared = (folder(tmp_path / name, cache) for name in ("calm", "killed", "shared"))
    done = calm.run("run", "--matrix", calm.matrix(**MATRIX))
    assert done.returncode == 0, done.stderr
    looks = json.loads((calm.results() / "looks.json").read_text())
    ((_, of_dataset),) = looks.items()
    last = of_dataset[-1]
    assert len(calm.records()) == 2 * last["seeds"]
    assert last["seeds"] == RULE["at_most"] or all(row["reading"] != "open" for row in last["rows"])

    matrix = killed.matrix(**MATRIX)
    process = killed.start("run", "--matrix", matrix)
    wait_for(lambda: len(killed.records()) >= 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (killed.results() / "looks.json").unlink(missing_ok=True)
    assert killed.run("run", "--matrix", matrix).returncode == 0
    both = [shared.start("run", "--matrix", shared.matrix(**MATRIX), "--workers", "1") for _ in range(2)]
    outputs = [each.communicate(timeout=400) for each in both]
    assert [each.returncode for each in both] == [0, 0], outputs

    assert taken(killed) == taken(shared) == taken(calm)
    for commands in (calm, killed, shared):
        assert commands.run("report", "--check").returncode == 0
        status = commands.run("status", "--matrix", commands.results().name)
        assert f"{len(commands.records()):6d} done" in status.stdout
        assert "pending" not in status.stdout
