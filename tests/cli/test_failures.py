"""Five runs that fail, each in its own way, in real processes: recorded with their reasons, repeated alone."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.matrix import expand
from benchmark.matrix_file import load
from tests.cli.commands import Commands, wait_for, workers


def policy(**stage: Any) -> dict[str, Any]:
    return {"pretrained": False, "summary": "for a test", "stages": [{"trainable": "all", **stage}]}


def limit_memory(worker: psutil.Process) -> None:
    """Leave a process that trains no room for the activations of a step.

    Its limit is the least that it has mapped within a second. At 128 pixels an activation takes more than the 32 MB
    from which glibc maps each block and unmaps it when it is freed: none fits into memory that the process has kept.
    """
    mapped = []
    for _ in range(100):
        mapped.append(worker.memory_info().vms)
        time.sleep(0.01)
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (min(mapped), resource.RLIM_INFINITY))


ENDLESS = {"epochs": 5000}
OWN = {
    "raising": policy(scheduler="constant"),
    "exploding": policy(lr_factor=1e30),
    "killed": policy(batch_norm="eval", **ENDLESS),
    "slow": policy(weight_decay=0.0, **ENDLESS),
    "greedy": policy(weight_decay=0.5, **ENDLESS),
}
MATRIX: dict[str, Any] = {
    "input_modes": ["grey-1ch"],
    "policies": ["scratch", "finetune-whole", *OWN],
    "own_policies": OWN,
    "seeds": [0],
    "datasets": [{"name": "shape-control", "limit": 256}],
    "training": {"image_size": 128, "batch_size": 256, "epochs": 5000, "head_epochs": 1, "early_stopping": None},
    "timeout": 30,
    "keep_weights": "best",
}


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_five_ways_to_fail_are_told_apart_and_only_those_runs_are_tried_again(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    for name in ("raising", "exploding"):
        OWN[name]["stages"][0]["epochs"] = 1
    own = {**OWN, **{name: policy(epochs=2, head_lr_factor=f) for name, f in (("good", 1.0), ("better", 2.0))}}
    matrix = commands.matrix(**{**MATRIX, "policies": list(own), "own_policies": own})
    ids = {spec.policy: spec.id for spec in expand(load(Path(matrix)))}
    (commands.results() / "weights" / f"{ids['raising']}.safetensors").mkdir(parents=True)

    process = commands.start("run", "--matrix", matrix, "--workers", "1")

    checkpoints = commands.results() / "checkpoints"
    unmet = {
        "killed": checkpoints / f"{ids['killed']}.checkpoint",
        "greedy": checkpoints / f"{ids['greedy']}.checkpoint",
    }
    while unmet:
        wait_for(lambda: any(path.exists() for path in unmet.values()), 300)
        name = next(name for name, path in unmet.items() if path.exists())
        (worker,) = workers(process.pid)
        if name == "killed":
            worker.kill()
        else:
            limit_memory(worker)
        del unmet[name]
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
    assert found["exploding"]["reason"].startswith("Diverged: the training loss is")
    assert found["killed"]["reason"] == f"its worker was ended by signal {signal.SIGKILL.name}"
    assert found["slow"]["reason"] == "exceeded its time of 30 s"
    assert found["greedy"]["reason"].startswith("out of memory at batch size 256 (")
    assert " MB mapped" in found["greedy"]["reason"]
    for name in ("raising", "exploding", "killed", "slow", "greedy"):
        assert f"{name} seed 0 ({ids[name]}): {found[name]['reason']}" in err
        assert found[name]["log"], f"the last lines of {name}"
    assert "5 runs are not done" in err

    before = {name: commands.results().joinpath("records", f"{ids[name]}.json").stat() for name in ids}
    again = commands.run("run", "--matrix", matrix, "--only", "status=failed", timeout=600)
    assert again.returncode == 1
    assert "5 runs, " in again.stdout
    after = {name: commands.results().joinpath("records", f"{ids[name]}.json").stat() for name in ids}
    unchanged = {name for name in ids if before[name].st_mtime_ns == after[name].st_mtime_ns}
    assert unchanged == {"good", "better"}
