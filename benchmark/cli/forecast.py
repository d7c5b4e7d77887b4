"""The forecast of time as ``plan`` and ``status`` show it. No torch."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark import environment
from benchmark.data.catalogue import FOLDER
from benchmark.data.source import DatasetSource
from benchmark.execution.forecast import Device, Forecast, ImageCount, device_class, drawn, forecast
from benchmark.execution.gpus import default_workers, visible_gpus
from benchmark.records.plan import Plan, PlannedRun
from benchmark.records.record import Environment
from benchmark.words import duration

NVIDIA = Path("/proc/driver/nvidia/gpus")
"""One folder per GPU of NVIDIA's driver on Linux: asking torch would take seconds."""


def expected(plan: Plan) -> dict[str, Forecast]:
    """Return the expected time of each run of a matrix on this machine, by id; runs without any basis are missing.

    Raises:
        UserError: a folder is missing or in none of the layouts.
    """
    specs = [run.spec for run in plan.runs]
    folders = dict.fromkeys(spec.source for spec in specs if spec.source.is_folder)
    return forecast(specs, plan.done, _device(plan), {source: _images(source) for source in folders})


def _images(source: DatasetSource) -> ImageCount:
    """Return about how many images of a folder are trained on and held out."""
    from benchmark.data.folders import list_folder

    listing = list_folder(Path(source.name.removeprefix(FOLDER)))
    used = source.classes or listing.classes
    return drawn(
        Counter(file.split or "train" for file in listing.files if listing.classes[file.label] in used), source
    )


def _device(plan: Plan) -> Device:
    """Return the class of device that runs will be executed on: as the newest run done here, else by the driver."""
    newest = _newest_here(plan)
    return device_class(newest.device) if newest else "gpu" if _gpus() else "cpu"


def _gpus() -> int:
    found = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    return len(visible_gpus(os.environ.get(environment.VISIBLE), found))


def _newest_here(plan: Plan) -> Environment | None:
    """Return the environment of the newest run that was done on a machine with this processor, or None."""
    cpu = environment.cpu_name()
    of_records = ((r.finished_at, r.environment) for r in plan.done if r.environment and r.environment.cpu == cpu)
    return max(of_records, key=lambda pair: pair[0], default=("", None))[1]


def workers_of(plan: Plan) -> int:
    """Return how many runs will share this machine: as in the newest run done here, else by default."""
    newest = _newest_here(plan)
    if newest:
        return newest.workers
    return default_workers(_gpus(), plan.runs[0].spec.threads) if plan.runs else 1


def total(runs: Sequence[PlannedRun], foreseen: Mapping[str, Forecast], workers: int) -> str:
    """Return the forecast of the runs that are not done with its basis, in one line."""
    left = [run.spec for run in runs if run.state != "done"]
    if not left:
        return "forecast: nothing is left to do"
    unknown = list(dict.fromkeys(spec.model for spec in left if spec.id not in foreseen))
    if unknown:
        return f"forecast: none until a run is done; no rate of {', '.join(unknown)} on such a device is known"
    seconds = [foreseen[spec.id].seconds for spec in left]
    at_a_time = min(workers, len(left))
    wall = max(math.fsum(seconds) / at_a_time, max(seconds))
    bases = "; ".join(dict.fromkeys(foreseen[spec.id].basis for spec in left))
    return f"forecast: {len(left)} runs to do, about {duration(wall)} with {at_a_time} at a time. Basis: {bases}."
