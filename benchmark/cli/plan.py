"""``plan``: list the runs of a matrix, and what they need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import options

if TYPE_CHECKING:
    from benchmark.records.selection import Selection


def plan(
    matrix: options.Matrix = options.DEFAULT_MATRIX,
    overrides: options.Overrides = None,
    only: options.Only = None,
    name: options.Name = None,
    results: options.Results = options.DEFAULT_RESULTS,
    data_dir: options.DataDir = None,
    preflight: Annotated[
        bool,
        typer.Option("--preflight", help="Check everything the runs need: images, weights, networks."),
    ] = False,
) -> None:
    """List a matrix's runs with their states, what they need, and what they can show. Trains nothing.

    With --preflight, missing images and weights are fetched, and everything that would stop a run is reported at once.
    """
    from tabulate import tabulate

    from benchmark.analysis.resolution import in_words, resolution
    from benchmark.execution.forecast import forecast, list_runs
    from benchmark.matrix.matrix import list_not_applicable
    from benchmark.records.plan import count_states
    from benchmark.records.selection import select
    from benchmark.words import duration

    selection = select(matrix, overrides, only, name, results)
    expected = forecast(selection.plan)
    rates = ["lr"] if selection.plan.choices else []
    keys = ["id", "dataset", "input_mode", "policy", *_setup_keys(selection), "seed", *rates]
    rows = []
    for run in list_runs(selection, expected):
        values = {key.replace("_", " "): getattr(run, key) for key in keys}
        row = {title: "?" if value is None else value for title, value in values.items()}
        rows.append(row | {"forecast": "?" if run.seconds is None else duration(run.seconds), "state": run.state})
    if rows:
        typer.echo(tabulate(rows, headers="keys", disable_numparse=True))
        typer.echo(f"\n{_needs(selection)}\n")
        typer.echo(f"{_floor(selection)}\n")
    for line in selection.left_out:
        typer.echo(line)
    for pair in list_not_applicable(selection.matrix):
        typer.echo(f"not applicable: {pair}")
    if text := in_words(resolution(selection.matrix, selection.plan), selection.matrix):
        typer.echo(f"{text}\n")
    typer.echo(expected.summary(selection.selected))
    counts = ", ".join(f"{number} {state}" for state, number in count_states(selection.plan.all_runs).items())
    typer.echo(f"{len(rows)} of {len(selection.plan.all_runs)} runs listed. In all: {counts}.")
    if preflight:
        _show_preflight(selection, data_dir)


def _setup_keys(selection: Selection) -> list[str]:
    """Return the columns of a run's setup: the model, and the image size if the matrix has several."""
    return ["model", "image_size"] if len(selection.matrix.training.image_size) > 1 else ["model"]


def _needs(selection: Selection) -> str:
    """Return a table of the datasets and weights of the listed runs, with control characters escaped."""
    from tabulate import tabulate

    from benchmark.execution.doctor import needs

    rows = needs(run.spec for run in selection.selected)
    escaped = [[cell if cell.isprintable() else repr(cell) for cell in row] for row in rows]
    return tabulate(escaped, headers=("needed by these runs", "source"), disable_numparse=True)


def _floor(selection: Selection) -> str:
    """Return a table of the floor rows of the listed runs' datasets: one line per dataset and method."""
    from collections import Counter

    from tabulate import tabulate

    states: dict[tuple[str, str], Counter[str]] = {}
    for row in selection.floor():
        states.setdefault((row.spec.dataset, row.spec.method), Counter())[row.state] += 1
    rows = [
        (", ".join(f"{number} {state}" for state, number in counted.items()), *of) for of, counted in states.items()
    ]
    return tabulate(rows, headers=("floor rows", "dataset", "method"), disable_numparse=True)


def _show_preflight(selection: Selection, data_dir: Path | None) -> None:
    from tabulate import tabulate

    from benchmark.execution.display import display
    from benchmark.execution.preflight import preflight

    todo = [run.spec for run in selection.selected if run.state != "done"]
    with display(len(todo)) as screen:
        found = preflight(todo, data_dir, screen.show_preparation)
    found.raise_problems(selection.place)
    keys = [*_setup_keys(selection), "input_mode", "policy", "classes"]
    rows = [
        (*(getattr(each, key) for key in keys), ", then ".join(f"{n:,}" for n in each.trainable))
        for each in found.checked
    ]
    headers = [*(key.replace("_", " ") for key in keys), "trained parameters"]
    if rows:
        typer.echo(tabulate(rows, headers=headers, disable_numparse=True))
    typer.echo(f"preflight: {len(todo)} runs to do, no problems found.")
