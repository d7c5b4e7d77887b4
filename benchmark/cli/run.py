"""``run``: execute the runs of a matrix that are not done, print the table and write the report."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import options
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.analysis.results import Results
    from benchmark.cli.selection import Selection
    from benchmark.execution.executor import Executor
    from benchmark.records.plan import PlannedRun
    from benchmark.records.record import RunRecord
    from benchmark.records.store import Store

SOME_RUN_FAILED = 1
INTERRUPTED = 130


class Where(str, Enum):
    """Values of ``--executor``."""

    local = "local"
    ray = "ray"


@dataclass(frozen=True)
class Place:
    """Options of the execution.

    Raises:
        UserError: an address of a Ray cluster, and another executor.
    """

    executor: Where
    ray_address: str | None
    workers: int | None
    """Runs at a time, or None for ``auto``."""
    runs_per_gpu: int
    data_dir: Path | None

    def __post_init__(self) -> None:
        if self.ray_address is not None and self.executor is not Where.ray:
            raise UserError(f"--ray-address {self.ray_address}: give --executor ray with it.")


def run(
    matrix: options.MatrixOrNone = None,
    folder: options.Folder = None,
    overrides: options.Overrides = None,
    only: options.Only = None,
    executor: Annotated[
        Where, typer.Option("--executor", help="Where runs are executed: on this machine, or on Ray (extra: ray).")
    ] = Where.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="ADDRESS",
            help="A Ray cluster's: HOST:PORT, or auto on one of its nodes; default: a Ray on this machine alone.",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers",
            help="Runs at a time: a number, or auto (GPUs x runs per GPU; without GPUs cores / threads; on a cluster "
            "what its nodes have room for).",
        ),
    ] = "auto",
    runs_per_gpu: Annotated[
        int, typer.Option("--runs-per-gpu", min=1, help="Runs that share a GPU; each sees one, in turns.")
    ] = 1,
    data_dir: options.DataDir = None,
    results: options.Results = options.DEFAULT_RESULTS,
    name: options.Name = None,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done.")] = False,
) -> None:
    """Execute a matrix's runs that are not done, print the table, write the report.

    Exit code: 0 all asked for is done, 1 some run failed, 2 a mistake in what was asked, 130 interrupted.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        from benchmark.cli.folder_option import fit_folder, recommend
        from benchmark.cli.selection import select

        place = Place(executor, ray_address, _workers(workers), runs_per_gpu, data_dir)
        if folder is not None:
            matrix, overrides = fit_folder(matrix, folder, overrides or ())
        selection = select(matrix or options.DEFAULT_MATRIX, overrides, only, name, results, verify=True)
        todo = [planned for planned in selection.selected if force or planned.state != "done"]
        failed = _execute_runs(selection, todo, place, from_scratch=force)
        found = _report(selection)
        _explain_failures(failed, selection.store)
        if folder is not None:
            recommend(found)
    except KeyboardInterrupt:
        typer.echo("interrupted. Finished runs are kept; run the same command again to resume.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if failed:
        raise typer.Exit(SOME_RUN_FAILED)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second signal ends this process at once, and workers with it
    raise KeyboardInterrupt


def _workers(given: str) -> int | None:
    if given == "auto":
        return None
    if given.isdigit() and int(given) > 0:
        return int(given)
    raise UserError(f"--workers {given}: write a positive number, or auto.")


def _execute_runs(selection: Selection, todo: list[PlannedRun], place: Place, *, from_scratch: bool) -> list[RunRecord]:
    """Execute runs and return the records of those that are not done."""
    _refuse_another_matrix(selection)
    if not todo:
        _keep_matrix(selection)
        return []
    from benchmark.cli.display import display
    from benchmark.execution.claims import ClaimedRuns
    from benchmark.execution.forecast import longest_first
    from benchmark.execution.gpus import default_workers
    from benchmark.execution.loop import execute_runs
    from benchmark.execution.preflight import preflight
    from benchmark.records import groups_file
    from benchmark.training.context import RunContext

    if place.executor is Where.ray:  # before images are prepared
        from benchmark.execution.ray_cluster import RayExecutor, import_ray, require_answer

        import_ray()
        if place.ray_address is not None:
            require_answer(place.ray_address)

    matrix, store = selection.matrix, selection.store
    todo = longest_first(todo, selection.plan.done)
    with display(len(todo)) as shown:
        found = preflight([planned.spec for planned in todo], place.data_dir, shown.preparing)
        found.raise_problems(selection.source, selection.overrides)
        here = default_workers(len(found.gpus), matrix.threads, place.runs_per_gpu)
        number = min(place.workers or (len(todo) if place.ray_address else here), len(todo))
        _keep_matrix(selection)
        groups_file.add(store.folder, found.test_groups)
        context = RunContext(
            data_dir=place.data_dir,
            weights_folder=store.folder / "weights",
            keep_weights=matrix.keep_weights,
            workers=number,
            exhibits=store.exhibits,
            keep_thumbnails=matrix.keep_thumbnails,
            checkpoints=store.checkpoints,
        )
        shown.starting(number)
        executor: Executor
        if place.executor is Where.ray:
            executor = RayExecutor(place.ray_address, number, matrix.threads, place.runs_per_gpu)
        else:
            from benchmark.execution.local import LocalExecutor

            executor = LocalExecutor(number, found.gpus)
        with ClaimedRuns(store, todo, from_scratch=from_scratch) as runs:
            return execute_runs(runs, executor, context, matrix.timeout, shown)


def _refuse_another_matrix(selection: Selection) -> None:
    """Refuse a results folder with runs that this matrix lacks.

    Raises:
        UserError: it has such runs.
    """
    from benchmark.matrix import file
    from benchmark.matrix.expand import expand

    path = selection.store.matrix
    if path.is_file():
        lost = {spec.id for spec in expand(file.load(path))} - {run.spec.id for run in selection.plan.runs}
        if lost:
            raise UserError(
                f"{path}: these results belong to another matrix: {len(lost)} of its runs are not in this one. "
                f"Give this one a folder of its own with --name, e.g. --name {selection.matrix.name}-2."
            )


def _keep_matrix(selection: Selection) -> None:
    """Write the effective matrix if the folder lacks it.

    Raises:
        UserError: another command has written another matrix meanwhile, or the folder cannot be written.
    """
    from benchmark.files import write_atomically
    from benchmark.matrix import file
    from benchmark.records.locks import folder_locked

    path = selection.store.matrix
    content = file.dump(selection.matrix).encode()
    if not path.is_file() or path.read_bytes() != content:
        with folder_locked(selection.store.folder):
            _refuse_another_matrix(selection)
            write_atomically(path, content)


def _report(selection: Selection) -> Results:
    """Print the table, write the report, and return the results that both show.

    Records are read under the folder's lock: no other command can then write an older report over a newer one.
    """
    from benchmark.analysis.results import load
    from benchmark.execution.claims import remove_done_checkpoints
    from benchmark.records.locks import folder_locked
    from benchmark.records.plan import make_plan
    from benchmark.report import build

    store = selection.store
    writable = os.access(store.folder, os.W_OK)  # a report that agrees with its records is shown all the same
    with folder_locked(store.folder) if writable else nullcontext():
        plan = make_plan([run.spec for run in selection.plan.runs], store)
        if store.checkpoints.is_dir():
            remove_done_checkpoints(store, [record.id for record in plan.done])
        results = load(selection.matrix, plan, store)
        typer.echo(build.table(results))
        build.write(results, store.folder)
    typer.echo(f"report: {store.folder / 'report.md'}")
    return results


def _explain_failures(failed: list[RunRecord], store: Store) -> None:
    for record in failed:
        typer.echo(f"{record.status}: {record.spec} ({record.id}): {record.reason}", err=True)
    if failed:
        typer.echo(
            f"{len(failed)} runs failed; tracebacks are in {store.records}/<id>.json. "
            "Run the same command to retry them.",
            err=True,
        )
