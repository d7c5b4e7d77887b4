"""What one run could leave behind in its process for the next, put back to what a new process has."""

from __future__ import annotations

import gc
import random

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState


def reset_accelerate() -> None:
    """Forget accelerate's process-wide state, which would carry one run's precision into the next (trap 18)."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def start_afresh(threads: int) -> None:
    """Make this process for the next run what a new one would be, and deterministic.

    Memory of earlier runs is given up; the random generators, the default dtype and device, gradients, autocast, the
    precision of products, denormal numbers, and the choice of kernels are as at a process' start.

    Args:
        threads: CPU threads of the run.
    """
    reset_accelerate()
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()  # libraries and what they hold stay; later collections, one a run, need not look at them again
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.set_autocast_enabled("cpu", False)
    torch.set_autocast_enabled("cuda", False)
    torch.clear_autocast_cache()
    torch.set_float32_matmul_precision("highest")
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.enabled = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
