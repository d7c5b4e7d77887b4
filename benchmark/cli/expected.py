"""The forecast of time as ``plan``, ``status`` and ``doctor`` show it. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark import calibration, environment
from benchmark.forecast import Forecast, Hardware, forecast
from benchmark.plan import Plan, PlannedRun

NO_BASIS = "no basis for a forecast of time yet: run `python -m benchmark doctor` with the same options"


def expected(plan: Plan, kept: calibration.Calibration | None, *, from_records: bool = True) -> dict[str, Forecast]:
    """Return what each run of a matrix is expected to take on this machine, by id.

    Args:
        plan: the matrix's runs with their records.
        kept: this machine's calibration, where there is one.
        from_records: also from the matrix's own records; records that ran on another machine tell nothing of this one.
    """
    records = plan.done if from_records else ()
    return forecast(
        (run.spec for run in plan.runs),
        records,
        hardware=_this_machine(plan, kept),
        measured=dict(kept.paces) if kept else None,
        images=dict(kept.images) if kept else None,
    )


def _this_machine(plan: Plan, kept: calibration.Calibration | None) -> Hardware:
    if kept is not None:
        return kept.hardware
    cpu = environment.cpu_name()
    mine = [
        (record.finished_at, record.environment.device)
        for record in plan.done
        if record.environment is not None and record.environment.cpu == cpu
    ]
    return Hardware(max(mine)[1] if mine else "cpu", cpu)


def workers_of(plan: Plan, kept: calibration.Calibration | None) -> int:
    """Return how many runs share this machine: as calibrated, else as in the newest record."""
    if kept is not None:
        return kept.workers
    of_records = [(r.finished_at, r.environment.workers) for r in plan.done if r.environment is not None]
    return max(of_records)[1] if of_records else 1


def duration(seconds: float | None) -> str:
    """Return seconds as ``12 s``, ``3.4 min`` or ``2.1 h``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def total(runs: Sequence[PlannedRun], foreseen: Mapping[str, Forecast], workers: int) -> str:
    """Return the forecast of the runs that are not done, in one line; `NO_BASIS` where one of them has none."""
    left = [foreseen[run.spec.id].seconds for run in runs if run.state != "done"]
    known = [seconds for seconds in left if seconds is not None]
    if not left:
        return "forecast: nothing is left to do"
    if len(known) < len(left):
        return NO_BASIS
    at_a_time = min(workers, len(left))
    wall = max(math.fsum(known) / at_a_time, max(known))
    return f"forecast: {len(left)} runs to do, about {duration(wall)} with {at_a_time} at a time on this machine"


def against_actual(plan: Plan, kept: calibration.Calibration | None) -> str | None:
    """Return what the done runs were expected to take by the calibration, and what they took; None without a basis."""
    if kept is None:
        return None
    foreseen = expected(plan, kept, from_records=False)
    pairs = [
        (seconds, record.timing.total_seconds)
        for record in plan.done
        if record.timing is not None and (seconds := foreseen[record.id].seconds) is not None
    ]
    if not pairs:
        return None
    before, actual = (math.fsum(column) for column in zip(*pairs, strict=True))
    return (
        f"{len(pairs)} done runs: forecast {duration(before)} of work, took {duration(actual)} "
        f"({actual / before:.2f} of the forecast)"
    )
