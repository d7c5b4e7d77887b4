"""``doctor``: what would stop a matrix on this machine, how fast it is, and how long it would take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import (
    DEFAULT_MATRIX,
    DEFAULT_RESULTS,
    DataDirOption,
    MatrixOption,
    NameOption,
    OnlyOption,
    ResultsOption,
    SetOption,
)

if TYPE_CHECKING:
    from benchmark.calibration import Calibration
    from benchmark.cli.selection import Selection
    from benchmark.doctor import Finding
    from benchmark.forecast import Way
    from benchmark.matrix import RunSpec

SOMETHING_STOPS = 1


def doctor(
    matrix: MatrixOption = DEFAULT_MATRIX,
    overrides: SetOption = None,
    only: OnlyOption = None,
    name: NameOption = None,
    results: ResultsOption = DEFAULT_RESULTS,
    data_dir: DataDirOption = None,
    calibrate: Annotated[
        bool, typer.Option(help="Measure training and inference; otherwise what was measured before is shown.")
    ] = True,
) -> None:
    """Show versions, device, memory, disk, hub, datasets, weights and measured rates, and forecast a matrix's time.

    Downloads nothing and writes no results. What is measured is kept in the cache folder: `plan` and `status` forecast
    from it. Exit code 1 where something would stop the run.
    """
    from tabulate import tabulate

    from benchmark import calibration
    from benchmark.cli.expected import expected, total
    from benchmark.cli.selection import select
    from benchmark.forecast import way

    selection = select(matrix, overrides, only, name, results)
    specs = [run.spec for run in selection.selected]
    findings, kept = _examined(selection, specs, data_dir, calibrate=calibrate)
    rows = [("STOPS" if each.stops else "ok", each.what, each.found) for each in findings]
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if kept is not None and any(way(spec, kept.hardware) in dict(kept.paces) for spec in specs):
        typer.echo(_rates(specs, kept))
        typer.echo(total(selection.selected, expected(selection.plan, kept), kept.workers))
        typer.echo(f"kept for `plan` and `status`: {calibration.path()}")
    stopping = sum(each.stops for each in findings)
    if stopping:
        typer.echo(f"{stopping} things would stop the run.", err=True)
        raise typer.Exit(SOMETHING_STOPS)


def _examined(
    selection: Selection, specs: Sequence[RunSpec], data_dir: Path | None, *, calibrate: bool
) -> tuple[list[Finding], Calibration | None]:
    import shutil

    import psutil
    import torch

    from benchmark import calibration, doctor, environment
    from benchmark.datasets.locations import cache_directory
    from benchmark.doctor import Finding
    from benchmark.errors import UserError
    from benchmark.forecast import Hardware
    from benchmark.precision import check_precision
    from benchmark.preparation import default_workers, gpus
    from benchmark.runs import choose_device, resolve_precision

    device = choose_device()
    cpu = environment.cpu_name()
    card = torch.cuda.get_device_name() if device.type == "cuda" else None
    asked = selection.matrix.training.precision
    try:
        check_precision(asked, device)
        precision = Finding("precision", f"{asked}: {resolve_precision(asked, device)}")
    except UserError as error:
        precision = Finding("precision", str(error), stops=True)
    versions = environment.package_versions()
    memory = psutil.virtual_memory()
    findings = [
        Finding("python", environment.python_version()),
        *(Finding(package, version) for package, version in versions.items()),
        Finding("device", card or f"CPU: {cpu}"),
        precision,
        Finding("free memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB"),
    ]
    for what, place in (("results", selection.store.folder), ("cache", cache_directory())):
        there = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(there).free
        findings.append(Finding(f"free disk, {what}", f"{free / 2**30:.1f} GB in {there}", stops=free < 2**28))
    hubs = dict.fromkeys(doctor.hub_of(model) for model in selection.matrix.models)
    findings += [Finding(hub, "answers" if doctor.reachable(hub) else "does not answer") for hub in hubs]
    of_datasets, listings = doctor.datasets_of(specs, data_dir)
    of_weights = doctor.weights_of(specs)
    findings += [*of_datasets, *of_weights]
    rate = doctor.decode_rate(listings, selection.matrix.training.image_size)
    if rate is not None:
        findings.append(Finding("decoding", f"{rate:,.0f} images per second"))
    kept = calibration.read()
    usable = not any(each.stops for each in (*of_weights, precision))
    if calibrate and usable:
        hardware = Hardware(card or "cpu", cpu)
        workers = default_workers(len(gpus()), selection.matrix.threads)
        ways = calibration.ways(specs, hardware)
        typer.echo(f"measuring {len(ways)} ways of training, {workers} at a time …", err=True)
        measured, contended = calibration.measure(list(ways.values()), workers)
        if contended:
            findings.append(Finding("measured", "beside other work: this machine is faster than what stands below"))
        findings += [
            Finding(f"training {spec.model} {spec.input_mode} {spec.policy}", answer, stops=True)
            for spec, answer in zip(ways.values(), measured, strict=True)
            if isinstance(answer, str)
        ]
        paces = tuple((way, pace) for way, pace in zip(ways, measured, strict=True) if not isinstance(pace, str))
        kept = calibration.keep(calibration.Calibration(hardware, workers, paces, doctor.folder_counts(specs)))
    return findings, kept


def _rates(specs: Sequence[RunSpec], kept: Calibration) -> str:
    """Return images per second of each way of training, as a table."""
    from tabulate import tabulate

    from benchmark.forecast import way

    paces = dict(kept.paces)
    users: dict[Way, list[RunSpec]] = {}
    for spec in specs:
        users.setdefault(way(spec, kept.hardware), []).append(spec)
    rows = []
    for each, runs in users.items():
        pace = paces.get(each)
        if pace is not None:
            modes = ", ".join(dict.fromkeys(run.input_mode for run in runs))
            policies = ", ".join(dict.fromkeys(run.policy for run in runs))
            training = ", then ".join(f"{1 / seconds:,.0f}" for seconds in pace.train)
            rows.append((each.model, modes, policies, training, f"{1 / pace.evaluate:,.0f}"))
    headers = ("model", "input modes", "policies", "training, images/s", "inference, images/s")
    return "\n" + tabulate(rows, headers=headers, disable_numparse=True) + "\n"
