"""Runs as jobs end as on local workers, also when jobs are requeued or killed. Jobs are submitit's on this machine."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from benchmark.errors import UserError
from benchmark.execution import node, slurm
from benchmark.execution.events import EpochDone, Event, Started, Warned
from benchmark.execution.place import Place
from benchmark.execution.slurm import SlurmExecutor, parse_options
from benchmark.records.record import EpochRecord
from tests.commands import wait_for
from tests.factories import context, decided, kept_weights, outcomes, run_locally, tiny_runs

HERE = SlurmExecutor({}, workers=2, threads=1, cluster="local")

WITHOUT_SUBMITIT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "submitit":
            raise ModuleNotFoundError("No module named 'submitit'", name="submitit")

sys.meta_path.insert(0, Blocker())
from benchmark.errors import UserError
from benchmark.execution.slurm import import_submitit
try:
    import_submitit()
except UserError as error:
    print(error)
    sys.exit(2)
"""


def jobs() -> list[psutil.Process]:
    """Return the processes of this test's jobs that execute a run."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "submitit.core._submit" in process.cmdline():
                found.append(process)
    return found


@pytest.mark.slow
def test_jobs_give_the_bits_of_local_workers_and_leave_only_results(tmp_path: Path) -> None:
    runs = tiny_runs()
    on_slurm, here = context(tmp_path / "slurm"), context(tmp_path / "local", workers=2)
    events: list[Event] = []
    found = outcomes(HERE, runs, on_slurm, on_event=events.append)
    expected = outcomes(run_locally, runs, here)
    for run in runs:
        assert decided(found[run.id]) == decided(expected[run.id])
        of_run = [event for event in events if event.run_id == run.id]
        assert isinstance(of_run[0], Started)
        assert [event.epoch.epoch for event in of_run if isinstance(event, EpochDone)] == [0, 1, 2]
    assert kept_weights(on_slurm) == kept_weights(here)
    assert {path.name for path in (tmp_path / "slurm").iterdir()} <= {"weights", "checkpoints", "exhibits"}


@pytest.mark.slow
def test_a_job_that_is_signalled_before_its_limit_resumes_from_its_last_epoch_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "TICK", 0.1)
    (run, _) = tiny_runs(epochs=100)
    signalled: list[int] = []
    warnings: list[str] = []

    def signal_once(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)
        if isinstance(event, EpochDone) and event.epoch.epoch >= 3 and not signalled:
            signalled.append(event.epoch.epoch)
            (job,) = jobs()
            for process in [*job.children(recursive=True), job]:  # as SLURM does
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGUSR2)

    on_slurm, here = context(tmp_path / "slurm"), context(tmp_path / "local")
    (found,) = outcomes(HERE, [run], on_slurm, on_event=signal_once).values()
    (expected,) = outcomes(run_locally, [run], here).values()
    assert decided(found) == decided(expected)
    assert found.record.timing is not None
    (resumed,) = found.record.timing.resumed_after
    assert 1 <= resumed < 100
    assert len(warnings) == 1
    assert "was requeued" in warnings[0]


@pytest.mark.slow
def test_a_killed_job_costs_its_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "GRACE", 1.0)
    monkeypatch.setattr(slurm, "ASK_AGAIN", 0.5)
    long, short = tiny_runs(epochs=5000)[0], tiny_runs(epochs=2)[1]
    of_long: list[psutil.Process] = []

    def kill_the_long_one(event: Event) -> None:
        if isinstance(event, EpochDone) and event.run_id == long.id and not of_long and len(jobs()) == 1:
            of_long.extend(jobs())
            of_long[0].kill()

    found = outcomes(HERE, [long, short], context(tmp_path), on_event=kill_the_long_one)
    killed = found[long.id].record
    assert (killed.status, found[short.id].record.status) == ("killed", "done")
    assert killed.reason is not None
    assert killed.reason.endswith("ended without an outcome, in state COMPLETED")
    assert any("Starting with" in line for line in killed.log)


@pytest.mark.slow
def test_an_executor_that_is_closed_cancels_its_jobs(tmp_path: Path) -> None:
    runs = tiny_runs(epochs=5000)
    short = tiny_runs(epochs=1, seeds=[7])[:1]
    waiting = [*runs, *short]
    with closing(HERE(lambda: waiting.pop() if waiting else None, context(tmp_path), None, lambda _: None)) as executor:
        assert next(executor).record.id == short[0].id
        assert len(jobs()) == 2
    wait_for(lambda: not jobs(), 20)


@pytest.mark.slow
def test_a_node_with_other_versions_executes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = node.versions()
    monkeypatch.setattr(node, "versions", lambda: {**mine, "torch": "1.0"})
    with pytest.raises(UserError, match=r"--executor slurm: node .* has torch .* \(not 1\.0\)"):
        outcomes(HERE, tiny_runs()[:1], context(tmp_path))


def test_without_submitit_the_message_says_how_to_install_it() -> None:
    command = [sys.executable, "-c", WITHOUT_SUBMITIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("--executor slurm: submitit is not installed. Install it with pip install")


def test_without_slurm_one_message_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    executor = SlurmExecutor({}, workers=1, threads=1)
    with pytest.raises(UserError, match=r'the jobs cannot be submitted .*"srun"'):
        outcomes(executor, tiny_runs()[:1], context(tmp_path))


def answering(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Put shell scripts in front of the programs of SLURM."""
    for name, script in programs.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_sbatch_refuses_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "sbatch: error: Batch job submission failed: Invalid account"
    answering(tmp_path, monkeypatch, sbatch=f"echo '{why}' >&2; exit 1", srun="", squeue="", scancel="")
    executor = SlurmExecutor({"account": "other"}, workers=1, threads=1)
    with pytest.raises(UserError, match=r"cannot be submitted \(sbatch: error: .* Invalid account\)\.$"):
        outcomes(executor, tiny_runs(), context(tmp_path / "results"))


def test_a_job_that_never_starts_is_a_message_and_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = tmp_path / "cancelled"
    answering(
        tmp_path,
        monkeypatch,
        srun="",
        sbatch="cp $1 $(dirname $0)/submitted; echo Submitted batch job 7",
        squeue=f"test -e {cancelled} || printf '7_0|RUNNING|None\\n7_1|PENDING|PartitionTimeLimit\\n'",
        scancel=f"echo $@ >> {cancelled}",
    )
    executor = SlurmExecutor({"partition": "gpu", "cpus-per-task": "4", "time": "1-0"}, workers=3, threads=1)
    with pytest.raises(UserError, match=r"job 7_1 does not start \(PartitionTimeLimit\)\. Change --slurm"):
        outcomes(executor, tiny_runs(), context(tmp_path / "results"))
    assert cancelled.read_text().splitlines() == ["7_0 7_1", "--signal=KILL 7_0 7_1"]
    script = (tmp_path / "submitted").read_text().splitlines()
    wanted = {"--partition=gpu", "--cpus-per-task=4", "--time=1-0", "--array=0-1%2", "--job-name=benchmark-results"}
    assert {f"#SBATCH {option}" for option in wanted} <= set(script)


def test_while_all_jobs_wait_the_reason_is_said_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "REMIND", 0.0)
    monkeypatch.setattr(slurm, "GRACE", 1.5)
    monkeypatch.setattr(slurm, "ASK_AGAIN", 0.0)
    asked = tmp_path / "asked"
    gone = f"if test -e {asked}; then echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; fi"
    answering(
        tmp_path,
        monkeypatch,
        srun="",
        sbatch="echo Submitted batch job 7",
        squeue=f"{gone}; touch {asked}; echo '7|PENDING|Resources'",
        scancel="",
    )
    warnings: list[Event] = []
    executor = SlurmExecutor({}, workers=1, threads=1)
    (found,) = outcomes(executor, tiny_runs()[:1], context(tmp_path / "r"), on_event=warnings.append).values()
    assert [event.message for event in warnings if isinstance(event, Warned)] == ["all 1 jobs are waiting (Resources)"]
    assert found.record.reason == "its job 7 ended without an outcome, in state GONE"


def test_a_controller_that_does_not_answer_for_a_while_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("TICK", 0.2), ("GRACE", 0.5), ("ASK_AGAIN", 0.0)):
        monkeypatch.setattr(slurm, name, seconds)
    asked = tmp_path / "asked"
    silent = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2"
    gone = "echo 'slurm_load_jobs error: Invalid job id specified' >&2"
    answering(
        tmp_path,
        monkeypatch,
        srun="",
        sbatch="echo Submitted batch job 7",
        squeue=f"echo >> {asked}; if test $(wc -l < {asked}) -lt 12; then {silent}; else {gone}; fi; exit 1",
        scancel="",
    )
    (found,) = outcomes(SlurmExecutor({}, workers=1, threads=1), tiny_runs()[:1], context(tmp_path / "r")).values()
    assert found.record.reason == "its job 7 ended without an outcome, in state GONE"
    assert len(asked.read_text()) >= 12


def test_events_arrive_as_they_were_sent_an_infinite_loss_too() -> None:
    (run, _) = tiny_runs()
    losses = {"train_loss": math.nan, "val_loss": math.inf}
    epoch = EpochRecord(stage=1, epoch=1, lr=0.1, val_accuracy=0.5, train_seconds=1.0, **losses)
    for event in (Started(run.id, run, 3, "now"), EpochDone(run.id, epoch), Warned(run.id, "warning")):
        assert repr(slurm._events().validate_json(slurm._events().dump_json(event))) == repr(event)


def test_options_are_long_ones_of_sbatch_that_this_command_does_not_set() -> None:
    assert parse_options(["partition=gpu", "gpus_per_node=a100:1", "mem=4G"]) == {
        "partition": "gpu",
        "gpus-per-node": "a100:1",
        "mem": "4G",
    }
    for wrong in ("gpu", "=gpu", "p;rm=1", "account=", "comment=a\nb", "-p=gpu"):
        with pytest.raises(UserError, match="write NAME=VALUE, a long option of sbatch"):
            parse_options([wrong])
    for ours in ("array=0-3", "output=x", "signal=USR1@10", "ntasks_per_node=2"):
        with pytest.raises(UserError, match="is set by this command"):
            parse_options([ours])


def test_options_of_one_executor_are_refused_for_another() -> None:
    with pytest.raises(UserError, match="--slurm gpus=1: also give --executor slurm"):
        Place(slurm=["gpus=1"])
    with pytest.raises(UserError, match="--ray-address auto: also give --executor ray"):
        Place("slurm", ray_address="auto")
    with pytest.raises(UserError, match="each job of --executor slurm executes one run"):
        Place("slurm", runs_per_gpu=2)
