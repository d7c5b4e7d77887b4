"""``doctor``: what would stop a matrix on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
    from benchmark.cli.selection import Selection
    from benchmark.execution.doctor import Finding

SOMETHING_STOPS = 1
LEAST_FREE = 2**28
"""Bytes of free disk below which a run is likely to stop."""


def doctor(
    matrix: MatrixOption = DEFAULT_MATRIX,
    overrides: SetOption = None,
    only: OnlyOption = None,
    name: NameOption = None,
    results: ResultsOption = DEFAULT_RESULTS,
    data_dir: DataDirOption = None,
) -> None:
    """Show versions, device, memory, disk, datasets and weights at hand, and what would stop the runs.

    Downloads nothing and writes no results. Exit code 1 if something would stop the runs.
    """
    from tabulate import tabulate

    from benchmark.cli.selection import select
    from benchmark.execution import doctor

    selection = select(matrix, overrides, only, name, results)
    specs = [run.spec for run in selection.selected]
    needed = [*doctor.datasets_of(specs, data_dir), *doctor.weights_of(specs)]
    findings = [*_machine(selection), *needed]
    if not any(each.stops or each.fetched for each in needed):
        findings += _preflight(selection, data_dir)
    rows = [("STOPS" if each.stops else "ok", each.what, each.found) for each in findings]
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if any(each.fetched for each in needed):
        typer.echo("Images and networks were not looked at: `plan --preflight` fetches what is missing, and looks.")
    stopping = sum(each.stops for each in findings)
    if stopping:
        typer.echo(f"{stopping} things would stop the run.", err=True)
        raise typer.Exit(SOMETHING_STOPS)


def _machine(selection: Selection) -> Iterator[Finding]:
    """Yield versions, device, precision, free memory and free disk."""
    import platform
    import shutil

    import psutil
    import torch

    from benchmark import environment
    from benchmark.errors import UserError
    from benchmark.execution.doctor import Finding
    from benchmark.locations import cache_directory
    from benchmark.training.devices import check_precision, choose_device, resolve_precision

    yield Finding("python", platform.python_version())
    for package, version in environment.package_versions().items():
        yield Finding(package, version)
    device, asked = choose_device(), selection.matrix.training.precision
    on_gpu = device.type == "cuda"
    yield Finding("device", torch.cuda.get_device_name() if on_gpu else f"CPU: {environment.cpu_name()}")
    try:
        check_precision(asked, device)
        yield Finding("precision", f"{asked}: {resolve_precision(asked, device)}")
    except UserError as error:
        yield Finding("precision", str(error), stops=True)
    memory = psutil.virtual_memory()
    yield Finding("free memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB")
    for what, place in (("results", selection.store.folder), ("cache", cache_directory())):
        there = next(parent for parent in (place, *place.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(there).free
        yield Finding(f"free disk, {what}", f"{free / 2**30:.1f} GB in {there}", stops=free < LEAST_FREE)


def _preflight(selection: Selection, data_dir: Path | None) -> list[Finding]:
    """Return the problems that the preflight finds, or one line saying that there are none."""
    from benchmark.cli.display import display
    from benchmark.execution.doctor import Finding
    from benchmark.execution.preflight import preflight
    from benchmark.matrix import file

    specs = [run.spec for run in selection.selected]
    with display(len(specs)) as shown:
        found = preflight(specs, data_dir, shown.preparing)
    if not found.problems:
        return [Finding("preflight", f"nothing in the way of {len(found.checked)} ways to train")]
    places = [file.place(selection.source, selection.overrides, each.key) for each in found.problems]
    return [
        Finding("preflight", f"{place}: {each.key}: {each.message}", stops=True)
        for place, each in zip(places, found.problems, strict=True)
    ]
