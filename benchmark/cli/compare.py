"""``compare``: two results of one matrix, run by run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    first: Annotated[Path, typer.Argument(help="Results folder, e.g. results/quick.")],
    second: Annotated[Path, typer.Argument(help="Results folder of the same matrix, made elsewhere.")],
    into: Annotated[
        Path | None, typer.Option("--into", help="Folder for comparison.md, .csv (one row per run), .svg and .png.")
    ] = None,
) -> None:
    """Compare two results of one matrix: another machine, another version, another number of threads.

    Per cell: the change of the test accuracy, the share of test images with another predicted class, the largest change
    of a class probability; the noise floor; and whether any verdict turns. Runs are paired by cell and seed, and
    only those that both have done are compared. Exit code 1 if a verdict turns.
    """
    from benchmark import api
    from benchmark.report import comparison as report
    from benchmark.report.text import plain

    found = api.compare(first, second)
    typer.echo(plain(report.markdown(found)))
    for path in report.write(found, into) if into is not None else ():
        typer.echo(f"wrote {path}")
    if found.turned:
        raise typer.Exit(1)
