"""What a run computes depends on nothing that its process was started with."""

from __future__ import annotations

import random

import numpy as np
import torch

from benchmark.training.isolation import make_deterministic


def state() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "products": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "drawn": (float(torch.rand(())), random.random(), float(np.random.rand())),
    }


def test_a_run_starts_from_the_same_state_whatever_was_set_before() -> None:
    make_deterministic(1)
    fresh = state()
    assert fresh["threads"] == 1
    assert (fresh["products"], fresh["cudnn"], fresh["tf32"]) == ("highest", (False, True), False)
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    make_deterministic(1)
    assert state() == fresh
