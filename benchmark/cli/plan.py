"""``plan``: which runs a matrix has, and what is left to do."""

from __future__ import annotations

import typer

from benchmark.cli.options import (
    DEFAULT_MATRIX,
    DEFAULT_RESULTS,
    MatrixOption,
    NameOption,
    OnlyOption,
    ResultsOption,
    SetOption,
    select,
)
from benchmark.matrix import not_applicable


def plan(
    matrix: MatrixOption = DEFAULT_MATRIX,
    overrides: SetOption = None,
    only: OnlyOption = None,
    name: NameOption = None,
    results: ResultsOption = DEFAULT_RESULTS,
) -> None:
    """List a matrix's runs, each with its state. Trains nothing, writes nothing."""
    from tabulate import tabulate

    selection = select(matrix, overrides, only, name, results)
    rows = [
        (run.spec.id, run.spec.dataset, run.spec.input_mode, run.spec.policy, run.spec.model, run.spec.seed, run.state)
        for run in selection.selected
    ]
    if rows:
        headers = ("id", "dataset", "input mode", "policy", "model", "seed", "state")
        typer.echo(tabulate(rows, headers=headers, disable_numparse=True))
    for pair in not_applicable(selection.matrix):
        typer.echo(f"not applicable: {pair}")
    counts = ", ".join(f"{number} {state}" for state, number in selection.plan.counts().items())
    typer.echo(f"{len(rows)} of {len(selection.plan.runs)} runs listed. In all: {counts}.")
