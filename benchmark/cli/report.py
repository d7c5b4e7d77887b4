"""``report``: rebuild every output from the records."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli import options
from benchmark.errors import UserError


def report(
    names: Annotated[list[str] | None, typer.Argument(help="Results folders; default: all of them.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file on disk differs.")] = False,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Rebuild the report of a matrix from its records, floor rows, matrix file and groups.csv, nothing else.

    A damaged record or floor row is named, also in the report, and left out of every number. Damaged predictions of a
    record end the command. Exit code 1 if something is damaged, or with --check if a file on disk differs.
    """
    import gc

    from benchmark import api
    from benchmark.report import build

    chosen = names or sorted(path.parent.name for path in results.glob("*/matrix.yaml"))
    if not chosen:
        raise UserError(f"{results}: no results here. Make some with: python -m benchmark run")
    drifted = damaged = False
    for name in chosen:
        gc.disable()  # nothing that is read is garbage, or becomes it before the end
        found = api.load_results(name, results=results)
        gc.freeze()
        gc.enable()
        folder = found.folder
        for item in found.damaged:
            damaged = True
            typer.echo(f"damaged, and left out: {item.path}: {item.reason}", err=True)
        if check:
            differences = build.check(found.loaded, folder)
            for difference in differences:
                typer.echo(f"{folder}: {difference}")
            typer.echo(f"{folder}: {'differs from its records' if differences else 'agrees with its records'}")
            drifted = drifted or bool(differences)
        else:
            written = build.write(found.loaded, folder)
            typer.echo(build.answer_text(found.loaded))
            for path in written:
                typer.echo(f"wrote {path}")
    if drifted or damaged:
        raise typer.Exit(1)
