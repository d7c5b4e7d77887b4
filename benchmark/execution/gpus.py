"""GPUs of this machine, the number of concurrent runs, and the GPU of each worker."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmark.data.decoding.pool import processors
from benchmark.environment import VISIBLE


def list_gpus() -> tuple[str, ...]:
    """Return the names of this machine's GPUs, or those of the user's `VISIBLE` if it is set. Imports torch."""
    import torch

    return visible_gpus(os.environ.get(VISIBLE), torch.cuda.device_count() if torch.cuda.is_available() else 0)


def visible_gpus(variable: str | None, found: int) -> tuple[str, ...]:
    """Return the names of a machine's available GPUs, in the form of `VISIBLE`.

    Args:
        variable: the user's `VISIBLE`, numbers or names such as ``GPU-…`` and ``MIG-…``, or None if it is not set.
        found: number of GPUs that CUDA finds with it.
    """
    if variable is None:
        return tuple(str(number) for number in range(found))
    names = tuple(name.strip() for name in variable.split(",") if name.strip())
    if names and names[0].startswith("MIG-"):  # a process sees only one slice of a card, even if several are named
        return names if found else ()
    return names[:found]


def default_workers(gpus: int, threads: int, runs_per_gpu: int = 1) -> int:
    """Return the number of concurrent runs for ``--workers auto``: all GPUs x runs per GPU, or without GPUs the cores.

    Args:
        gpus: number of GPUs.
        threads: CPU threads per run.
        runs_per_gpu: value of ``--runs-per-gpu``.
    """
    return gpus * runs_per_gpu if gpus else max(1, processors() // threads)


def variables_of_workers(workers: int, gpus: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Return environment variables for each worker that assign GPUs in turn, one per worker; empty without GPUs."""
    return tuple({VISIBLE: gpus[number % len(gpus)]} if gpus else {} for number in range(workers))
