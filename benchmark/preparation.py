"""What this machine offers to runs: GPUs and processors."""

from __future__ import annotations

import os

from benchmark.datasets.parallel import processors
from benchmark.environment import VISIBLE
from benchmark.gpus import runs_at_a_time, visible_gpus


def gpus() -> tuple[str, ...]:
    """Return the names of this machine's GPUs, those of the user's CUDA_VISIBLE_DEVICES where it is set.

    Imports torch, which knows.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return visible_gpus(os.environ.get(VISIBLE), found)


def default_workers(gpus: int, threads: int, runs_per_gpu: int = 1) -> int:
    """Return what ``--workers auto`` means on this machine.

    Args:
        gpus: how many it has.
        threads: CPU threads a run.
        runs_per_gpu: runs that share a GPU.
    """
    return runs_at_a_time(gpus, runs_per_gpu, processors(), threads)
