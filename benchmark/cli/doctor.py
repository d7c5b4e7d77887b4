"""``doctor``: diagnose this machine for a matrix."""

from __future__ import annotations

import typer

from benchmark.cli import options

SOMETHING_STOPS = 1


def doctor(
    matrix: options.Matrix = options.DEFAULT_MATRIX,
    overrides: options.Overrides = None,
    only: options.Only = None,
    name: options.Name = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data_dir: options.DataDir = None,
) -> None:
    """Show versions, device, memory, disk, datasets and weights at hand, and what would stop the runs.

    Downloads nothing and writes no results. Exit code 1 if something would stop the runs.
    """
    from tabulate import tabulate

    from benchmark.execution.display import display
    from benchmark.execution.doctor import Finding, examine_datasets, examine_machine, examine_weights
    from benchmark.execution.preflight import preflight
    from benchmark.records.selection import select

    selection = select(matrix, overrides, only, name, results)
    specs = [run.spec for run in selection.selected]
    needed = [*examine_datasets(specs, data_dir), *examine_weights(specs)]
    findings = [Finding("matrix", line) for line in selection.left_out]
    findings += [*examine_machine(selection.matrix.training.precision, selection.store.folder), *needed]
    if not any(each.stops or each.fetched for each in needed):
        with display(len(specs)) as screen:
            found = preflight(specs, data_dir, screen.show_preparation)
        problems = found.messages(selection.place)
        findings += [Finding("preflight", message, stops=True) for message in problems]
        if not problems:
            findings.append(Finding("preflight", f"no problems found in {len(found.checked)} ways to train"))
    rows = [("STOPS" if each.stops else "ok", each.subject, each.found) for each in findings]
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    if any(each.fetched for each in needed):
        typer.echo("Images and networks were not checked: `plan --preflight` fetches what is missing, and checks them.")
    stopping = sum(each.stops for each in findings)
    if stopping:
        typer.echo(f"{stopping} problems would stop the run.", err=True)
        raise typer.Exit(SOMETHING_STOPS)
