"""One run leaves nothing behind for the next in its process."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmark.matrix.run_spec import RunSpec
from benchmark.training import run
from benchmark.training.context import Outcome, RunContext
from benchmark.training.devices import has_fast_bf16
from benchmark.training.isolation import start_afresh
from tests import factories


def measured(spec: RunSpec, folder: Path) -> Outcome:
    return run.train_and_score(spec, RunContext(folder, folder / "weights"), factories.dataset)


def spoil() -> None:
    """Leave everything that a run could leave behind."""
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", True)
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.enabled = False
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)


def state() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "products": torch.get_float32_matmul_precision(),
        "denormals": float(torch.tensor([1e-40]) * 1.0),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "drawn": (float(torch.rand(())), random.random(), float(np.random.rand())),
    }


def test_a_run_starts_from_the_same_state_whatever_was_left_behind() -> None:
    start_afresh(1)
    fresh = state()
    spoil()
    start_afresh(1)
    assert state() == fresh


@pytest.mark.slow
def test_a_then_b_then_a_give_the_same_a_bit_for_bit(tmp_path: Path) -> None:
    a = factories.training_spec(policy="finetune", epochs=3)
    first = measured(a, tmp_path)
    other = "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"
    measured(factories.training_spec("grey-3ch", "scratch", seed=5, precision=other, optimizer="adam"), tmp_path)
    spoil()
    again = measured(a, tmp_path)
    assert first.predictions is not None and again.predictions is not None
    np.testing.assert_array_equal(again.predictions.probabilities, first.predictions.probabilities)

    def history(outcome: Outcome) -> list[dict[str, object]]:
        return [epoch.model_dump(exclude={"train_seconds"}) for epoch in outcome.record.history]

    assert history(again) == history(first)


@pytest.mark.stress
def test_memory_after_twenty_runs_is_within_a_tenth_of_that_after_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = psutil.Process()
    policies = ("finetune", "scratch", "feature-extract")
    resident = []
    for number in range(20):
        mode = ("grey-1ch", "grey-3ch")[number % 2]
        measured(factories.training_spec(mode, policies[number % 3], seed=number, epochs=2), tmp_path)
        resident.append(process.memory_info().rss)
    with capsys.disabled():
        sys.stdout.write(f"\n{resident[2] >> 20} MB resident after 3 runs, {resident[-1] >> 20} MB after 20\n")
    assert resident[-1] < 1.1 * resident[2], [value // 2**20 for value in resident]
