"""Place of the execution: this machine or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError


@dataclass(frozen=True)
class Place:
    """Place of the execution, and the number of concurrent runs.

    Raises:
        UserError: the address of a Ray cluster is given for another executor, or a number is below one.
    """

    on_ray: bool = False
    ray_address: str | None = None
    """Address of a Ray cluster, or None to start Ray only on this machine."""
    workers: int | None = None
    """Number of concurrent runs, or None for ``auto``."""
    runs_per_gpu: int = 1
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.ray_address is not None and not self.on_ray:
            raise UserError(f"--ray-address {self.ray_address}: also give --executor ray.")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: give a positive number or auto.")
        if self.runs_per_gpu < 1:
            raise UserError(f"--runs-per-gpu {self.runs_per_gpu}: give a positive number.")
