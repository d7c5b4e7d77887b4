"""How many runs share a machine."""

from __future__ import annotations

import os

import torch


def default_workers(threads: int) -> int:
    """Return how many runs share the machine: on a CPU one a core (cores / threads), on a GPU one.

    Args:
        threads: CPU threads a run.
    """
    if torch.cuda.is_available():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)
