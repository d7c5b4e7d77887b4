"""Runs in processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any

import psutil
import pytest

from benchmark.execution.events import Event, Started
from tests.commands import library_servers, workers
from tests.factories import context, outcomes, run_locally, tiny_runs


class Ending(PosixPath):
    """A folder whose making ends the process as if all were well."""

    def mkdir(self, *arguments: Any, **options: Any) -> None:
        os._exit(0)


@pytest.mark.slow
def test_a_worker_that_ends_inside_a_run_with_exit_code_0_costs_that_run(tmp_path: Path) -> None:
    (run, _) = tiny_runs()
    where = replace(context(tmp_path), checkpoints=Ending(tmp_path / "checkpoints"))
    (ended,) = outcomes(run_locally, [run], where).values()
    assert ended.record.status == "killed"
    assert ended.record.reason == "its worker ended with exit code 0"


@pytest.mark.slow
def test_each_run_has_a_process_of_its_own_which_ends_with_it_and_with_an_executor_that_is_closed(
    tmp_path: Path,
) -> None:
    runs = tiny_runs(epochs=5000)
    of_first: list[psutil.Process] = []

    def look(event: Event) -> None:
        if isinstance(event, Started):
            of_first.extend(workers(os.getpid()))

    with closing(run_locally(lambda: runs.pop(0) if runs else None, context(tmp_path), 1.0, look)) as executor:
        ended = next(executor)
        (of_second,) = workers(os.getpid())  # it has started before the outcome of the first is written
    assert (ended.record.status, ended.record.reason) == ("timeout", "exceeded its time limit of 1 s")
    assert of_second not in of_first
    assert not any(process.is_running() for process in (*of_first, of_second))


@pytest.mark.slow
def test_workers_have_the_present_environment_and_claim_only_variables_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, _) = tiny_runs()
    for number, gpu in enumerate(("7", "5")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
        monkeypatch.setenv("MALLOC_TOP_PAD_", str(number))  # too late for the second: its program is running
        (ended,) = outcomes(run_locally, [run], context(tmp_path / gpu)).values()
        assert ended.record.environment is not None
        variables = ended.record.environment.variables
        assert variables["CUDA_VISIBLE_DEVICES"] == gpu
        (server,) = library_servers(os.getpid())
        assert variables["MALLOC_TOP_PAD_"] == server.environ()["MALLOC_TOP_PAD_"]


@pytest.mark.slow
def test_importing_the_libraries_of_a_run_asks_for_no_gpu() -> None:
    """CUDA that is in use cannot be used in a process forked then."""
    code = """
import torch

asked = []
for place, name in ((torch._C, "_cuda_init"), (torch._C, "_cuda_getDeviceCount"), (torch.cuda, "_lazy_init"),
                    (torch.cuda, "is_available"), (torch.cuda, "device_count")):
    assert hasattr(place, name), name
    setattr(place, name, lambda *given, name=name: asked.append(name))
import benchmark.execution.preloaded
assert not asked, asked
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
