"""Reset process-wide state between runs: threads, random generators, choice of kernels."""

from __future__ import annotations

import random

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState


def reset_accelerate() -> None:
    """Reset accelerate's process-wide state, which would carry the precision of one stage over to the next."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def make_deterministic(threads: int) -> None:
    """Make the computations of this process depend only on the run.

    Args:
        threads: CPU threads of the run.
    """
    reset_accelerate()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")  # an environment variable of PyTorch could lower it
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
