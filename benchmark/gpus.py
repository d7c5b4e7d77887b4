"""Which GPUs a machine offers, how many runs it takes at a time, and which GPU each worker sees. Pure; no torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.environment import VISIBLE


def visible_gpus(variable: str | None, found: int) -> tuple[str, ...]:
    """Return the names of the GPUs that a machine offers, as `VISIBLE` takes them.

    Args:
        variable: what the user has put into `VISIBLE`: numbers, or names as ``GPU-…`` and ``MIG-…``; None: not set.
        found: GPUs that CUDA finds under it.
    """
    if variable is None:
        return tuple(str(number) for number in range(found))
    names = tuple(name.strip() for name in variable.split(",") if name.strip())
    if names and names[0].startswith("MIG-"):  # one process sees one slice of a card, however many are named
        return names if found else ()
    return names[:found]


def runs_at_a_time(gpus: int, runs_per_gpu: int, cores: int, threads: int) -> int:
    """Return what ``--workers auto`` means on a machine: runs per GPU on each, without one a run for each core.

    Args:
        gpus: how many it offers.
        runs_per_gpu: as given to ``--runs-per-gpu``.
        cores: processors that this process may use.
        threads: processors that a run uses.
    """
    return gpus * runs_per_gpu if gpus else max(1, cores // threads)


def variables_of_workers(workers: int, gpus: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Return what each worker's environment needs so that it sees one GPU, in turns; nothing without GPUs."""
    return tuple({VISIBLE: gpus[number % len(gpus)]} if gpus else {} for number in range(workers))
