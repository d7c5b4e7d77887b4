"""Place of the execution: this machine or a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from benchmark.errors import UserError

ExecutorName: TypeAlias = Literal["local", "ray", "slurm"]
"""Value of ``--executor``."""

TrackerName: TypeAlias = Literal["tensorboard", "trackio"]
"""Value of ``--track``."""


@dataclass(frozen=True)
class Place:
    """Place of the execution, and the number of concurrent runs.

    Raises:
        UserError: an option of one executor is given for another, or a number is below one.
    """

    executor: ExecutorName = "local"
    ray_address: str | None = None
    """Address of a Ray cluster, or None to start Ray only on this machine."""
    workers: int | None = None
    """Number of concurrent runs, or None for ``auto``."""
    runs_per_gpu: int = 1
    data_dir: Path | None = None
    slurm: Sequence[str] = ()
    """Long options of sbatch, ``NAME=VALUE``."""
    tracker: TrackerName | None = None
    """Experiment tracker that gets a copy of the runs; see `tracking`."""

    def __post_init__(self) -> None:
        if self.ray_address is not None and self.executor != "ray":
            raise UserError(f"--ray-address {self.ray_address}: also give --executor ray.")
        if self.slurm and self.executor != "slurm":
            raise UserError(f"--slurm {self.slurm[0]}: also give --executor slurm.")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: give a positive number or auto.")
        if self.runs_per_gpu < 1:
            raise UserError(f"--runs-per-gpu {self.runs_per_gpu}: give a positive number.")
        if self.runs_per_gpu > 1 and self.executor == "slurm":
            raise UserError(f"--runs-per-gpu {self.runs_per_gpu}: each job of --executor slurm executes one run.")

    @property
    def is_cluster(self) -> bool:
        """Whether a cluster, and not this machine, limits the number of concurrent runs."""
        return self.ray_address is not None or self.executor == "slurm"
