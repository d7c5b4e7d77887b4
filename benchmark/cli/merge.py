"""``merge``: results of one matrix, made by several people or machines, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.words import count


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Results folders of one matrix, e.g. alice/quick bob/quick.")],
    into: Annotated[Path, typer.Option("--into", help="New results folder, e.g. results/quick.")],
) -> None:
    """Merge results of one matrix, made by several people or machines, into a new folder with a report.

    Of a run that several folders have, the first one's record is taken. Where results of a run differ, the others are
    kept in conflicts/ of the new folder, listed here and counted in the report; nothing is averaged. provenance.csv
    names the folder of each record. Exit code 1 if results differ, or a damaged file was left out.
    """
    from benchmark import api

    merged = api.merge(folders, into)
    for folder, number in merged.taken.items():
        typer.echo(f"{folder}: {count(number, 'record')} taken")
    for line in merged.left_out:
        typer.echo(f"left out: {line}", err=True)
    for each in merged.damaged:
        typer.echo(f"damaged, and left out: {each.path}: {each.reason}", err=True)
    for conflict in merged.conflicts:
        typer.echo(
            f"conflict: {conflict.what} ({conflict.id}): {conflict.other} has other results than {conflict.used}, "
            "whose are used",
            err=True,
        )
    if merged.conflicts:
        typer.echo(
            f"{count(len(merged.conflicts), 'conflict')}: the results that are not used are in {into / 'conflicts'}. "
            f"Compare them with: python -m benchmark compare {into} {into / 'conflicts'}/NAME",
            err=True,
        )
    typer.echo(f"report: {into / 'report.md'}")
    if merged.conflicts or merged.damaged:
        raise typer.Exit(1)
