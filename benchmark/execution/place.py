"""Place of the execution: this machine or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError


@dataclass(frozen=True)
class Place:
    """Place of the execution, and the number of runs at a time.

    Raises:
        UserError: an address of a Ray cluster, and another executor; or a number below one.
    """

    on_ray: bool = False
    ray_address: str | None = None
    """Of a cluster, or None for a Ray of this machine alone."""
    workers: int | None = None
    """Runs at a time, or None for ``auto``."""
    runs_per_gpu: int = 1
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.ray_address is not None and not self.on_ray:
            raise UserError(f"--ray-address {self.ray_address}: give --executor ray with it.")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: write a positive number, or auto.")
        if self.runs_per_gpu < 1:
            raise UserError(f"--runs-per-gpu {self.runs_per_gpu}: write a positive number.")
