"""Which GPU each worker sees: assignment by formula, and what real workers have in their environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.environment import VISIBLE
from benchmark.execution.gpus import default_workers, variables_of_workers, visible_gpus
from benchmark.execution.local import LocalExecutor
from tests.factories import context, outcomes, tiny_runs


@pytest.mark.parametrize(
    ("variable", "found", "expected"),
    [
        (None, 0, ()),
        (None, 3, ("0", "1", "2")),
        ("", 0, ()),
        ("2", 1, ("2",)),
        ("3, 1", 2, ("3", "1")),
        ("0,-1,2", 1, ("0",)),  # CUDA ignores what stands behind a name that it does not know
        ("GPU-8932f937,GPU-aaaa", 2, ("GPU-8932f937", "GPU-aaaa")),
        ("MIG-1,MIG-2,MIG-3", 1, ("MIG-1", "MIG-2", "MIG-3")),  # CUDA shows one slice to a process
        ("MIG-1", 0, ()),
    ],
)
def test_gpus_are_those_that_the_user_has_left_visible(
    variable: str | None, found: int, expected: tuple[str, ...]
) -> None:
    assert visible_gpus(variable, found) == expected


def test_workers_take_gpus_in_turns() -> None:
    in_turns = ("4", "GPU-b", "4", "GPU-b", "4")
    assert variables_of_workers(5, ("4", "GPU-b")) == tuple({VISIBLE: name} for name in in_turns)
    assert variables_of_workers(2, ()) == ({}, {})


@pytest.mark.parametrize(
    ("gpus", "runs_per_gpu", "cores", "threads", "expected"),
    [(4, 1, 64, 1, 4), (4, 3, 2, 8, 12), (0, 3, 8, 1, 8), (0, 1, 8, 3, 2), (0, 1, 2, 8, 1)],
)
def test_auto_is_a_run_for_each_place_on_a_gpu_or_for_each_core(
    gpus: int, runs_per_gpu: int, cores: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.execution.gpus.processors", lambda: cores)
    assert default_workers(gpus, threads, runs_per_gpu) == expected


@pytest.mark.slow
def test_each_worker_has_the_name_of_one_gpu_in_its_environment_and_the_parent_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    found = outcomes(LocalExecutor(2, ("GPU-a", "MIG-b")), tiny_runs(epochs=8), context(tmp_path, workers=2))
    environments = [outcome.record.environment for outcome in found.values()]
    assert sorted(each.variables[VISIBLE] for each in environments if each) == ["GPU-a", "MIG-b"]
    assert VISIBLE not in os.environ
