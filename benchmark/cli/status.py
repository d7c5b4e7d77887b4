"""``status``: count a matrix's runs by state, and list failures with their reasons."""

from __future__ import annotations

import typer

from benchmark.cli import options


def status(
    matrix: options.Matrix = options.DEFAULT_MATRIX,
    overrides: options.Overrides = None,
    only: options.Only = None,
    name: options.Name = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Count a matrix's runs and floor rows by state; list what failed, with the reason, and damaged files.

    `--matrix NAME` may also be a folder under --results. Exit code 1 if a run failed or a file is damaged.
    """
    from collections import Counter

    from benchmark.execution.forecast import forecast
    from benchmark.records.floor import damaged_rows
    from benchmark.records.plan import FAILURES, count_states
    from benchmark.records.selection import explain_waiting, select
    from benchmark.records.store import Store

    kept = Store(results / (name or matrix)).matrix
    selection = select(str(kept) if kept.is_file() and not overrides else matrix, overrides, only, name, results)
    for state, number in count_states(selection.plan.all_runs).items():
        typer.echo(f"{number:6d} {state}")
    floor = selection.floor()
    for row_state, number in Counter(row.state for row in floor).items():
        typer.echo(f"{number:6d} floor rows {row_state}")
    if selection.plan.todo and selection.plan.finished:
        typer.echo(forecast(selection.plan).summary(selection.plan.all_runs))
    for line in selection.left_out:
        typer.echo(line)
    failed = [run for run in selection.selected if run.state in FAILURES]
    for run in failed:
        reason = run.record.reason if run.record else None
        typer.echo(f"{run.state}: {selection.matrix.title(run.spec)} ({run.spec.id}): {reason}")
    for line in explain_waiting(selection.matrix, selection.plan):
        typer.echo(line)
    bad_predictions = [bad for record in selection.plan.done if (bad := selection.store.damaged_predictions(record))]
    damaged = [*selection.plan.damaged, *bad_predictions, *damaged_rows(floor)]
    for each in damaged:
        typer.echo(f"damaged: {each.path}: {each.reason}")
    for run_id in selection.plan.foreign:
        typer.echo(f"foreign: {selection.store.path(run_id)} belongs to no run of this matrix")
    if failed or damaged:
        raise typer.Exit(1)
