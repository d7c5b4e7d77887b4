"""What this machine offers to runs: GPUs and processors."""

from __future__ import annotations

import os

import torch

from benchmark.gpus import VISIBLE, runs_at_a_time, visible_gpus


def gpus() -> tuple[str, ...]:
    """Return the names of this machine's GPUs, those of the user's CUDA_VISIBLE_DEVICES where it is set."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return visible_gpus(os.environ.get(VISIBLE), found)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(threads: int, runs_per_gpu: int = 1) -> int:
    """Return what ``--workers auto`` means on this machine.

    Args:
        threads: CPU threads a run.
        runs_per_gpu: runs that share a GPU.
    """
    return runs_at_a_time(len(gpus()), runs_per_gpu, cores(), threads)
