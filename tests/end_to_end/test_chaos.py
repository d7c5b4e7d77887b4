"""kill -9 at random moments: what is left is what an undisturbed run leaves."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands import Commands, library_servers, workers

KILLS = 36
RUNS = 40
MATRIX: dict[str, Any] = {
    "models": ["timm/test_efficientnet.r160_in1k"],
    "datasets": [{"name": "shape-control", "limit": 320}],
    "policies": ["finetune", "finetune-whole"],
    "seeds": list(range(RUNS // 4)),
    "training": {"image_size": 64, "batch_size": 16, "epochs": 3, "head_epochs": 1, "augment": ["hflip"]},
}
LOOK_AGAIN = 0.3
"""Seconds between looks at a command's children, while a write is waited for."""

WHEN = ("after an epoch", "inside a write", "after an epoch", "at any moment")
"""Moments of the kills, in turn; the last includes a command's start and its imports."""


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without times and machine."""
    kept = {key: value for key, value in record.items() if key not in ("timing", "memory", "environment")}
    del kept["started_at"], kept["finished_at"]
    kept["history"] = [{k: v for k, v in epoch.items() if k != "train_seconds"} for epoch in record["history"]]
    return kept


class Chaos:
    """A command that is killed and started again."""

    def __init__(self, commands: Commands, matrix: str, chance: random.Random) -> None:
        self.commands, self.matrix, self.chance = commands, matrix, chance
        self.process: subprocess.Popen[str] = self._start()
        self.kills = self.of_parents = self.inside_writes = 0
        self.slowest_end = 0.0

    def _start(self) -> subprocess.Popen[str]:
        return self.commands.start("run", "--matrix", self.matrix, "--workers", "2")

    def ensure_running(self) -> bool:
        """Start the command again where it has ended; False: it has ended with everything done."""
        if self.process.poll() is None:
            return True
        self.process.communicate()
        if self.process.returncode == 0:
            return False
        self.process = self._start()
        return True

    def children(self) -> list[psutil.Process]:
        """Return the workers of the command, and the process that they are forked from."""
        return [*workers(self.process.pid), *library_servers(self.process.pid)]

    def kill(self, victim: int, alive: list[psutil.Process]) -> None:
        """Kill a process; the children of a killed command, alive then, must be gone within five seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.kills += 1
        if victim == self.process.pid:
            self.of_parents += 1
            began = time.monotonic()
            _, left = psutil.wait_procs(alive, timeout=5)
            assert not left, "workers outlive their killed parent"
            self.slowest_end = max(self.slowest_end, time.monotonic() - began)
            self.process.communicate()

    def temporary(self) -> set[Path]:
        """Return the files that are being written, or were when their writer died."""
        folder = self.commands.results()
        return {*(folder / "checkpoints").glob(".*.tmp"), *(folder / "records").glob(".*.tmp")}

    def kill_anybody(self) -> None:
        """Kill the command, one of its workers, or the process that they are forked from."""
        if self.process.poll() is None:
            children = self.children()
            self.kill(self.chance.choice([self.process.pid, *(child.pid for child in children)]), children)

    def kill_after_an_epoch(self) -> None:
        """Wait until some run has kept the state after an epoch, and kill a moment later."""
        folder = self.commands.results() / "checkpoints"

        def kept() -> dict[str, int]:
            found = {}
            for path in folder.glob("*.checkpoint"):
                with contextlib.suppress(FileNotFoundError):
                    found[path.name] = path.stat().st_mtime_ns
            return found

        before = kept()
        while self.process.poll() is None and not kept().items() - before.items():
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, 0.1))
        self.kill_anybody()

    def kill_inside_a_write(self) -> None:
        """Wait for a checkpoint or a record that is being written, and kill its writer then."""
        before = self.temporary()
        looked, children = 0.0, self.children()
        while self.process.poll() is None:
            if time.monotonic() - looked > LOOK_AGAIN:  # now: a write is over before they could be looked up
                looked, children = time.monotonic(), self.children()
            new = self.temporary() - before
            if not new:
                time.sleep(0.001)
                continue
            path = next(iter(new))
            if path.parent.name == "records":
                self.kill(self.process.pid, children)
            else:
                for child in children:
                    self.kill(child.pid, children)
            time.sleep(0.1)
            self.inside_writes += path.exists()
            return


@pytest.mark.stress
@pytest.mark.timeout(2400)
def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = Path(os.environ.get("BENCHMARK_CACHE_DIR", tmp_path / "cache"))
    chance = random.Random(0)
    (tmp_path / "calm").mkdir()
    (tmp_path / "wild").mkdir()
    calm, wild = Commands(tmp_path / "calm", cache), Commands(tmp_path / "wild", tmp_path / "cache of the killed")
    done = calm.run("run", "--matrix", calm.matrix(**MATRIX), "--workers", "2", timeout=900)
    assert done.returncode == 0, done.stderr

    chaos = Chaos(wild, wild.matrix(**MATRIX), chance)
    moments = itertools.cycle(WHEN)
    while chaos.kills < KILLS and chaos.ensure_running():
        match next(moments):
            case "after an epoch":
                chaos.kill_after_an_epoch()
            case "inside a write":
                chaos.kill_inside_a_write()
            case _:
                time.sleep(chance.uniform(0, 6))
                chaos.kill_anybody()
    while chaos.ensure_running():
        chaos.process.communicate()

    expected, left = calm.records(), wild.records()
    assert left.keys() == expected.keys()
    assert len(left) == RUNS
    resumed = [epoch for record in left.values() for epoch in record["timing"]["resumed_after"] if epoch > 0]
    counts = (
        f"{chaos.kills} kills, {chaos.of_parents} of the parent (workers gone within {chaos.slowest_end:.1f} s), "
        f"{chaos.inside_writes} inside a write; {len(resumed)} times a run went on after an epoch > 0"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{counts}\n")
    for run_id, record in left.items():
        assert comparable(record) == comparable(expected[run_id]), run_id
    assert chaos.kills >= 30
    assert chaos.of_parents >= 3
    assert chaos.inside_writes >= 3
    assert len(resumed) >= 10
    files = {path.relative_to(wild.results()).as_posix() for path in wild.results().rglob("*") if path.is_file()}
    assert {name for name in files if name.endswith((".tmp", ".checkpoint"))} == set()
    assert wild.run("report", "--check").returncode == 0
