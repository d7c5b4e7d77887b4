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

    from benchmark.analysis.results import load
    from benchmark.matrix import file
    from benchmark.records.floor import damaged_rows, plan_floor
    from benchmark.records.plan import make_plan
    from benchmark.records.store import find_results
    from benchmark.report import build

    chosen = names or sorted(path.parent.name for path in results.glob("*/matrix.yaml"))
    if not chosen:
        raise UserError(f"{results}: no results here. Make some with: python -m benchmark run")
    drifted = damaged = False
    for name in chosen:
        store = find_results(results, name)
        matrix = file.load(store.matrix)
        plan = make_plan(matrix, store)
        gc.freeze()  # records and modules stay to the end
        floor = plan_floor([run.spec for run in plan.runs], store.folder, plan.done)
        for item in (*plan.damaged, *damaged_rows(floor)):
            damaged = True
            typer.echo(f"damaged, and left out: {item.path}: {item.reason}", err=True)
        loaded = load(matrix, plan, store)
        if check:
            differences = build.check(loaded, store.folder)
            for difference in differences:
                typer.echo(f"{store.folder}: {difference}")
            typer.echo(f"{store.folder}: {'differs from its records' if differences else 'agrees with its records'}")
            drifted = drifted or bool(differences)
        else:
            written = build.write(loaded, store.folder)
            typer.echo(build.answer_text(loaded))
            for path in written:
                typer.echo(f"wrote {path}")
    if drifted or damaged:
        raise typer.Exit(1)
