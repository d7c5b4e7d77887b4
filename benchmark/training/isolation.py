"""Set what a process has once for all its code: threads, random generators, the choice of kernels."""

from __future__ import annotations

import random

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState


def reset_accelerate() -> None:
    """Forget accelerate's process-wide state, which would carry the precision of one stage into the next."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def make_deterministic(threads: int) -> None:
    """Make what this process computes depend on nothing but the run.

    Args:
        threads: CPU threads of the run.
    """
    reset_accelerate()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")  # an environment variable of PyTorch would lower it
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
