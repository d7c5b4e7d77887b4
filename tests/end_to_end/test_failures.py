"""Five runs that fail, each in its own way, in real processes: recorded with their reasons, repeated alone."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.matrix.expand import expand
from benchmark.matrix.file import load
from tests.commands import Commands, wait_for, workers

ROOM = 1 << 29
"""Bytes of addresses beyond what a command and a worker take while heads are trained."""


def head(**stage: Any) -> dict[str, Any]:
    """Return a policy that trains the head on cached features: images go through the network 64 at a time."""
    return policy(trainable="head", batch_norm="eval", **stage)


def policy(**stage: Any) -> dict[str, Any]:
    return {"pretrained": False, "summary": "for a test", "stages": [stage]}


OWN = {
    "good": head(epochs=2),
    "better": head(epochs=3),
    "raising": head(epochs=1),
    "exploding": head(epochs=3, lr_factor=1e30),
    "killed": head(epochs=50_000),
    "slow": head(epochs=60_000),
    "greedy": policy(trainable="all", epochs=1),
}
"""`greedy` trains everything in batches of 256 images: what its first layers keep for the backward pass takes
gigabytes."""

FAILING = {"raising", "exploding", "killed", "slow", "greedy"}
MATRIX: dict[str, Any] = {
    "input_modes": ["grey-1ch"],
    "policies": list(OWN),
    "own_policies": OWN,
    "seeds": [0],
    "datasets": [{"name": "shape-control", "limit": 256}],
    "training": {"image_size": 128, "batch_size": 256, "epochs": 60_000, "head_epochs": 1, "early_stopping": None},
    "timeout": 20,
    "keep_weights": "best",
}


def mapped(process: subprocess.Popen[str]) -> int:
    """Wait for a command's end; return the most addresses that it or a worker of its had, bytes."""
    most = 0
    while process.poll() is None:
        for each in (psutil.Process(process.pid), *workers(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                most = max(most, each.memory_info().vms)
        time.sleep(0.02)
    return most


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_five_ways_to_fail_are_told_apart_and_only_those_runs_are_tried_again(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    matrix = commands.matrix(**MATRIX)
    ids = {spec.policy: spec.id for spec in expand(load(Path(matrix)))}
    (commands.results() / "weights" / f"{ids['raising']}.safetensors").mkdir(parents=True)
    checkpoints = commands.results() / "checkpoints"

    def started(*arguments: str) -> subprocess.Popen[str]:
        return commands.start("run", "--matrix", matrix, "--workers", "1", *arguments)

    def limited(*arguments: str) -> subprocess.Popen[str]:
        process = started(*arguments)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))  # its workers inherit it
        return process

    alone = started("--only", "policy=good")
    limit = mapped(alone) + ROOM
    assert alone.returncode == 0, alone.communicate()
    process = limited()
    wait_for((checkpoints / f"{ids['killed']}.checkpoint").exists, 300)
    for worker in workers(process.pid):
        worker.kill()
    _, err = process.communicate(timeout=600)

    assert process.returncode == 1, err
    found = {record["spec"]["policy"]: record for record in commands.records().values()}
    assert {name: record["status"] for name, record in found.items()} == {
        "good": "done",
        "better": "done",
        "raising": "failed",
        "exploding": "diverged",
        "killed": "killed",
        "slow": "timeout",
        "greedy": "oom",
    }
    assert "cannot be written (Is a directory)" in found["raising"]["reason"]
    assert "write_atomically" in found["raising"]["traceback"]
    assert found["exploding"]["reason"].startswith("Diverged: the ")
    assert found["killed"]["reason"] == f"its worker was ended by signal {signal.SIGKILL.name}"
    assert found["slow"]["reason"] == "exceeded its time limit of 20 s"
    assert re.search(r"epoch \d+, stage 1: training loss ", found["slow"]["log"][-1])
    assert found["greedy"]["reason"].startswith("out of memory at batch size 256 (")
    assert " MB mapped" in found["greedy"]["reason"]
    for name in FAILING:
        assert f"{name} seed 0 ({ids[name]}): {found[name]['reason']}" in err
        assert name in ("killed", "slow") or "Traceback" in found[name]["traceback"]
    assert "5 runs failed" in err

    def written() -> dict[str, int]:
        records = commands.results() / "records"
        return {name: (records / f"{ids[name]}.json").stat().st_mtime_ns for name in ids}

    before = written()
    again = limited()
    out, _ = again.communicate(timeout=600)
    assert again.returncode == 1
    assert "5 runs, " in out
    after = written()
    assert {name for name in ids if before[name] != after[name]} == FAILING
