"""GPUs of this machine, how many runs it takes at a time, and which GPU each worker sees."""

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
    """Return the names of the GPUs that a machine offers, as `VISIBLE` takes them.

    Args:
        variable: the user's `VISIBLE`, numbers or names such as ``GPU-…`` and ``MIG-…``, or None if it is not set.
        found: GPUs that CUDA finds under it.
    """
    if variable is None:
        return tuple(str(number) for number in range(found))
    names = tuple(name.strip() for name in variable.split(",") if name.strip())
    if names and names[0].startswith("MIG-"):  # one process sees one slice of a card, however many are named
        return names if found else ()
    return names[:found]


def default_workers(gpus: int, threads: int, runs_per_gpu: int = 1) -> int:
    """Return the meaning of ``--workers auto`` on this machine: runs per GPU on each, or without one a run per core.

    Args:
        gpus: how many it has.
        threads: CPU threads per run.
        runs_per_gpu: as given to ``--runs-per-gpu``.
    """
    return gpus * runs_per_gpu if gpus else max(1, processors() // threads)


def variables_of_workers(workers: int, gpus: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Return variables for each worker's environment, by which it sees one GPU, in turns; none without GPUs."""
    return tuple({VISIBLE: gpus[number % len(gpus)]} if gpus else {} for number in range(workers))
