"""``run``: execute what is not done, then show the table and write the report."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import matrix_file
from benchmark.cli.checks import require_preflight
from benchmark.cli.options import (
    DEFAULT_MATRIX,
    DEFAULT_RESULTS,
    DataDirOption,
    MatrixOption,
    NameOption,
    OnlyOption,
    ResultsOption,
    Selection,
    SetOption,
    select,
)
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix import Matrix, expand
from benchmark.plan import make_plan

if TYPE_CHECKING:
    from benchmark.matrix import RunSpec
    from benchmark.records import RunRecord

SOME_RUN_FAILED = 1
INTERRUPTED = 130
ENDED = ("done", "failed", "diverged")
"""States after which a run has nothing to go on from; one that was cut off (killed, timeout, oom) keeps its
checkpoint."""


def run(
    matrix: MatrixOption = DEFAULT_MATRIX,
    overrides: SetOption = None,
    only: OnlyOption = None,
    workers: Annotated[
        str, typer.Option("--workers", help="Runs at a time: a number, or auto (CPU: cores / threads; GPU: one).")
    ] = "auto",
    data_dir: DataDirOption = None,
    results: ResultsOption = DEFAULT_RESULTS,
    name: NameOption = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done.")] = False,
) -> None:
    """Execute a matrix's runs that are not done, print the table, write the report.

    Exit code: 0 all asked for is done, 1 some run failed, 2 a mistake in what was asked, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    selection = select(matrix, overrides, only, name, results, verify=True)
    number = _workers(workers)
    todo = [planned.spec for planned in selection.selected if force or planned.state != "done"]
    _refuse_another_matrix(selection)
    failed: list[RunRecord] = []
    if not todo:
        _keep_matrix(selection)
    else:
        try:
            failed = _execute(selection, todo, number, data_dir, anew=force)
        except KeyboardInterrupt:
            typer.echo("interrupted: finished runs are kept; the same command goes on from here.", err=True)
            raise typer.Exit(INTERRUPTED) from None
    _conclude(selection, failed)
    if failed:
        raise typer.Exit(SOME_RUN_FAILED)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _workers(given: str) -> int | None:
    if given == "auto":
        return None
    if given.isdigit() and int(given) > 0:
        return int(given)
    raise UserError(f"--workers {given}: write a positive number, or auto.")


def _refuse_another_matrix(selection: Selection) -> None:
    path = selection.matrix_path
    if path.is_file():
        before = matrix_file.load(path)
        lost = {spec.id for spec in expand(before)} - {run.spec.id for run in selection.plan.runs}
        if lost:
            raise UserError(
                f"{path}: these results belong to another matrix: {len(lost)} of its runs are not in this one. "
                f"Give this one a folder of its own with --name, e.g. --name {selection.matrix.name}-2."
            )


def _keep_matrix(selection: Selection) -> None:
    content = matrix_file.dump(selection.matrix).encode()
    if not selection.matrix_path.is_file() or selection.matrix_path.read_bytes() != content:
        write_atomically(selection.matrix_path, content)


def _execute(
    selection: Selection, todo: list[RunSpec], workers: int | None, data_dir: Path | None, *, anew: bool
) -> list[RunRecord]:
    from benchmark import checkpoints
    from benchmark.cli.display import display
    from benchmark.executors.local import run_locally
    from benchmark.preparation import default_workers
    from benchmark.runs import RunContext

    matrix = selection.matrix
    number = min(workers or default_workers(matrix.threads), len(todo))
    with display(len(todo)) as shown:
        require_preflight(selection, todo, data_dir, number, shown.preparing)
        _keep_matrix(selection)
        context = RunContext(
            data_dir=data_dir,
            weights_folder=selection.store.folder / "weights",
            keep_weights=matrix.keep_weights,
            workers=number,
            checkpoints=selection.store.folder / "checkpoints",
            exhibits=selection.store.exhibits,
            keep_thumbnails=matrix.keep_thumbnails,
        )
        if anew:
            for spec in todo:
                checkpoints.remove(selection.store.folder / "checkpoints", spec.id)
        shown.starting(len(todo), context.workers)
        failed = []
        with closing(run_locally(todo, context, matrix.timeout, shown.event)) as outcomes:
            for outcome in outcomes:
                record = selection.store.save(outcome.record, outcome.predictions, outcome.shown)
                if record.status in ENDED:
                    checkpoints.remove(selection.store.folder / "checkpoints", record.id)
                shown.finished(record)
                if record.status != "done":
                    failed.append(record)
    return failed


def _conclude(selection: Selection, failed: list[RunRecord]) -> None:
    from benchmark import report

    matrix: Matrix = selection.matrix
    plan = make_plan((run.spec for run in selection.plan.runs), selection.store)
    typer.echo(report.terminal_table(matrix, plan, selection.store))
    if report.check(matrix, plan, selection.store):  # nothing is drawn again that shows the records as they are
        report.write(matrix, plan, selection.store)
    typer.echo(f"report: {selection.store.folder / 'report.md'}")
    for record in failed:
        typer.echo(f"{record.status}: {record.spec} ({record.id}): {record.reason}", err=True)
    if failed:
        typer.echo(
            f"{len(failed)} runs are not done; their tracebacks stand in {selection.store.records}/<id>.json. "
            "The same command tries them again.",
            err=True,
        )
