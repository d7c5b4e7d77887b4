"""Runs in worker processes of this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PosixPath
from typing import Any

import pytest

from benchmark.executors.local import local_workers
from tests.cli.commands import workers
from tests.executors.outcomes import context, outcomes, run_locally, tiny_runs


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
    assert ended.record.reason == "its worker ended without a word"


def test_workers_start_before_there_is_a_run_and_end_with_the_block_that_fails() -> None:
    with pytest.raises(ValueError, match="refused"), local_workers(2):
        started = workers(os.getpid())
        assert len(started) == 2
        raise ValueError("refused")
    assert not any(process.is_running() for process in started)
