"""Commands with `--executor slurm` on a real SLURM of this machine: `python -m pytest -m stress` on this file, as root.

It needs Debian's packages slurm-wlm and munge. Its daemons are started with a configuration of their own, and ended.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.commands import Commands, wait_for

pytestmark = pytest.mark.stress

CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
KillWait=3
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=5 State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start SLURM and yield its configuration; its log of jobs is next to it."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("ctld", "d"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=platform.node(), folder=folder))
    os.environ["SLURM_CONF"] = str(configuration)
    if not any(process.name() == "munged" for process in psutil.process_iter()):
        subprocess.run("mkdir -p /run/munge && chown munge /run/munge", shell=True, check=True)
        subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"], check=True)
    try:
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], check=True)
        wait_for(lambda: "idle" in ask("sinfo", "--noheader", "--format=%T"), 60)
        yield configuration
    finally:
        ask("scancel", "--user=root")
        for name in ("d", "ctld"):
            os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)
        print((folder / "ctld.log").read_text())  # noqa: T201  # with -s: the log of the jobs


def ask(*command: str) -> str:
    """Return what a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def queue(state: str = "PENDING,RUNNING,COMPLETING") -> list[str]:
    """Return the ids of jobs in these states."""
    return ask("squeue", "--noheader", "--array", "--format=%i", f"--states={state}").split()


def results_of(commands: Commands, name: str) -> dict[str, Any]:
    """Return records without times and machine, and predictions."""
    found: dict[str, Any] = {}
    for run, record in commands.records(name).items():
        assert record["status"] == "done", record["reason"]
        for field in ("started_at", "finished_at", "environment", "timing", "memory"):
            del record[field]
        for epoch in record["history"]:
            del epoch["train_seconds"]
        found[run] = record, (commands.results(name) / "records" / f"{run}.parquet").read_bytes()
    return found


@pytest.mark.timeout(1200)
def test_twelve_runs_by_an_array_one_cancelled_and_requeued_equal_local_ones(slurm: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path, tmp_path / "cache")
    process = commands.start(
        "run", "--matrix", "smoke", "--name", "by-slurm", "--executor", "slurm", "--slurm", "time=10"
    )
    wait_for(lambda: bool(queue("RUNNING")), 300)
    (first, *_) = queue("RUNNING")
    assert first.endswith("_0")
    ask("scancel", first)
    wait_for(lambda: first not in queue(), 60)
    requeued = subprocess.run(["scontrol", "requeue", first], capture_output=True, text=True, check=False)
    assert requeued.returncode == 0, requeued.stderr
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert f"Requeuing JobId={first}" in (slurm.parent / "ctld.log").read_text()
    wait_for(lambda: not queue(), 30)
    local = commands.run("run", "--matrix", "smoke", "--name", "here", timeout=600)
    assert local.returncode == 0, local.stderr
    found = results_of(commands, "by-slurm")
    assert len(found) == 12
    assert found == results_of(commands, "here")
    assert not list(commands.results("by-slurm").glob(".slurm-*"))


@pytest.mark.timeout(1200)
def test_a_run_longer_than_its_job_resumes_after_the_time_limit_to_the_same_bits(slurm: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path, tmp_path / "cache")
    training = {"image_size": 32, "batch_size": 4, "epochs": 800, "head_epochs": 1, "early_stopping": None}
    path = commands.matrix(input_modes=["grey-1ch"], seeds=[0], training=training)
    arguments = ("run", "--matrix", path, "--executor", "slurm", "--slurm", "time=2", "--name")
    done = commands.run(*arguments, "by-slurm", timeout=900)
    assert done.returncode == 0, done.stderr
    local = commands.run("run", "--matrix", path, "--name", "here", timeout=600)
    assert local.returncode == 0, local.stderr
    (record,) = commands.records("by-slurm").values()
    assert record["timing"]["resumed_after"], "the run was shorter than its limit"
    assert results_of(commands, "by-slurm") == results_of(commands, "here")


@pytest.mark.timeout(600)
def test_an_interrupt_leaves_no_job(slurm: Path, tmp_path: Path) -> None:
    commands = Commands(tmp_path, tmp_path / "cache")
    path = commands.matrix(training={"image_size": 32, "epochs": 5000, "head_epochs": 1, "early_stopping": None})
    process = commands.start("run", "--matrix", path, "--executor", "slurm")
    wait_for(lambda: len(queue("RUNNING")) == 2, 300)
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - started < 20
    assert not queue()
    assert "submitit.core._submit" not in ask("ps", "-eo", "args")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partition=other", "the jobs cannot be submitted (sbatch: error: "),
        ("partition=short --slurm time=60", "does not start (PartitionTimeLimit). Change --slurm"),
    ],
)
def test_what_slurm_refuses_or_never_starts_is_one_message(
    option: str, message: str, slurm: Path, tmp_path: Path
) -> None:
    commands = Commands(tmp_path, tmp_path / "cache")
    path = commands.matrix()
    done = commands.run("run", "--matrix", path, "--executor", "slurm", "--slurm", *option.split())
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not queue()
