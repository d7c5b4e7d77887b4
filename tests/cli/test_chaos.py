"""kill -9 at random moments: what is left is what an undisturbed run leaves."""

from __future__ import annotations

import contextlib
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

from tests.cli.commands import Commands, workers

KILLS = 32
MATRIX: dict[str, Any] = {
    "models": ["timm/test_efficientnet.r160_in1k"],
    "datasets": [{"name": "shape-control", "limit": 160}],
    "policies": ["finetune", "finetune-whole"],
    "seeds": [0, 1, 2, 3],
    "training": {"image_size": 32, "batch_size": 16, "epochs": 3, "head_epochs": 1, "augment": ["hflip"]},
}


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

    def kill(self, victim: int) -> None:
        """Kill a process; the workers of a killed command must be gone within five seconds."""
        alive = workers(self.process.pid)
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

    def kill_inside_a_write(self, seconds: float) -> None:
        """Wait for a checkpoint or a record that is being written, and kill its writer then."""
        before = self.temporary()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            new = self.temporary() - before
            if not new:
                time.sleep(0.001)
                continue
            path = next(iter(new))
            if path.parent.name == "records":
                self.kill(self.process.pid)
            else:
                for worker in workers(self.process.pid):
                    self.kill(worker.pid)
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
    while chaos.kills < KILLS and chaos.ensure_running():
        if chaos.kills % 4 == 3 or (chaos.inside_writes < 3 and chaos.kills > KILLS // 2):
            chaos.kill_inside_a_write(seconds=30)
            continue
        deadline = time.monotonic() + 30
        checkpoints = wild.results() / "checkpoints"
        before = {path: path.stat().st_mtime_ns for path in checkpoints.glob("*.checkpoint")}
        if chaos.kills % 2:  # after some epoch has ended; else at any moment, imports included
            while time.monotonic() < deadline and chaos.process.poll() is None:
                with contextlib.suppress(FileNotFoundError):
                    if any(path.stat().st_mtime_ns != before.get(path) for path in checkpoints.glob("*.checkpoint")):
                        break
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
        else:
            time.sleep(chance.uniform(0, 2))
        if chaos.process.poll() is None:
            chaos.kill(chance.choice([chaos.process.pid, *(worker.pid for worker in workers(chaos.process.pid))]))
    while chaos.ensure_running():
        chaos.process.communicate()

    expected, left = calm.records(), wild.records()
    assert left.keys() == expected.keys()
    assert len(left) == 16
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
