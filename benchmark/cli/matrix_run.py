"""The steps of ``run``: execute, report, recommend."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import typer

from benchmark.analysis.floor import by_method
from benchmark.analysis.results import Results, load
from benchmark.cli.display import display
from benchmark.cli.selection import Selection, explain_waiting
from benchmark.data.folders import list_folder
from benchmark.errors import UserError
from benchmark.execution.claims import ClaimedRuns, execute_runs, remove_done_checkpoints
from benchmark.execution.executor import Executor
from benchmark.execution.floor import FloorRows
from benchmark.execution.forecast import execution_order
from benchmark.execution.gpus import default_workers
from benchmark.execution.local import LocalExecutor
from benchmark.execution.preflight import preflight
from benchmark.execution.ray_cluster import RayExecutor, import_ray, require_answer
from benchmark.files import write_atomically
from benchmark.matrix import file
from benchmark.matrix.tuning import dependencies
from benchmark.records import groups_file
from benchmark.records.floor import FloorStore
from benchmark.records.locks import folder_locked
from benchmark.records.plan import Plan, PlannedRun, make_plan
from benchmark.records.record import RunRecord
from benchmark.report import build
from benchmark.training.context import RunContext


@dataclass(frozen=True)
class Place:
    """Options of the execution.

    Raises:
        UserError: an address of a Ray cluster, and another executor.
    """

    on_ray: bool
    ray_address: str | None
    workers: int | None
    """Runs at a time, or None for ``auto``."""
    runs_per_gpu: int
    data_dir: Path | None

    def __post_init__(self) -> None:
        if self.ray_address is not None and not self.on_ray:
            raise UserError(f"--ray-address {self.ray_address}: give --executor ray with it.")


class NotDone(NamedTuple):
    """Records and messages of a command about what it was asked for and is not done.

    Attributes:
        runs: records of runs.
        floor: a message for each floor row.
    """

    runs: list[RunRecord]
    floor: list[str]


def print_remarks(selection: Selection) -> None:
    """Print what of the folders of a matrix is left out, or taken in a way that may surprise."""
    for entry in selection.matrix.datasets:
        for remark in list_folder(entry).important if entry.is_folder else ():
            typer.echo(f"{entry.title}: {remark}")


def execute(selection: Selection, todo: list[PlannedRun], place: Place, *, from_scratch: bool) -> NotDone:
    """Execute runs, and compute missing floor rows of the selected runs' datasets meanwhile."""
    _refuse_another_matrix(selection)
    matrix, store = selection.matrix, selection.store
    floor = FloorRows(selection.floor(), FloorStore(store.folder), place.data_dir, from_scratch=from_scratch)

    def floor_table() -> str:
        return build.floor_table(by_method(selection.floor()))

    if not todo:
        _keep_matrix(selection)
        if not floor.are_missing:
            return NotDone([], [])
        floor.start()
        floor.save(lambda: typer.echo(floor_table()))
        return NotDone([], floor.wait())
    if place.on_ray:  # before images are prepared
        import_ray()
        if place.ray_address is not None:
            require_answer(place.ray_address)
    with display(len(todo), matrix.title) as shown:
        specs = [planned.spec for planned in todo]
        found = preflight(specs, place.data_dir, shown.preparing, images_ready=floor.start)
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
            preregistered=matrix.preregistered,
            checkpoints=store.checkpoints,
        )
        shown.starting(number)
        floor.save(lambda: shown.text(floor_table()))
        executor: Executor = LocalExecutor(number, found.gpus)
        if place.on_ray:
            executor = RayExecutor(place.ray_address, number, matrix.threads, place.runs_per_gpu)

        def execute_all(planned: list[PlannedRun]) -> list[RunRecord]:
            ordered = execution_order(planned, selection.plan.done)
            with ClaimedRuns(store, ordered, from_scratch=from_scratch) as runs:
                return execute_runs(runs, executor, context, matrix.timeout, shown)

        failed = []
        if tuning := [run for run in todo if run.spec.trial is not None]:
            failed = execute_all(tuning)
            todo = _resolve(todo, make_plan(matrix, store), from_scratch=from_scratch)
            shown.left(len(todo))
        return NotDone(failed + (execute_all(todo) if todo else []), floor.wait())


def _resolve(todo: Sequence[PlannedRun], plan: Plan, *, from_scratch: bool) -> list[PlannedRun]:
    """Return the reported runs to do, as they are in a plan that was made after their tuning runs."""
    asked = {(run.spec.cell, run.spec.seed) for run in todo if run.spec.trial is None}
    left = [run for run in plan.runs if from_scratch or run.state != "done"]
    return [run for run in left if run.state != "waiting" and (run.spec.cell, run.spec.seed) in asked]


def _refuse_another_matrix(selection: Selection) -> None:
    """Refuse a results folder with runs that this matrix lacks, or may choose to run at another learning rate.

    Raises:
        UserError: it has such runs.
    """
    path = selection.store.matrix
    if path.is_file():
        lost = dependencies(file.load(path)) - dependencies(selection.matrix)
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
    path = selection.store.matrix
    content = file.dump(selection.matrix).encode()
    if not path.is_file() or path.read_bytes() != content:
        with folder_locked(selection.store.folder):
            _refuse_another_matrix(selection)
            write_atomically(path, content)


def load_results(selection: Selection) -> Results:
    """Return the results of a selection's matrix as they are on disk now."""
    return load(selection.matrix, make_plan(selection.matrix, selection.store), selection.store)


def report(selection: Selection) -> Results:
    """Write the report, print the answer and the table, and return the results that all of them show.

    Records are read under the folder's lock: no other command can then write an older report over a newer one.
    """
    store = selection.store
    writable = os.access(store.folder, os.W_OK)  # a report that agrees with its records is shown all the same
    with folder_locked(store.folder) if writable else nullcontext():
        results = load_results(selection)
        if store.checkpoints.is_dir():
            remove_done_checkpoints(store, [record.id for record in results.plan.finished])
        try:  # first: a report does not depend on who reads what is printed
            build.write(results, store.folder)
        finally:
            typer.echo(f"\n{build.answer_text(results)}\n\n{build.table(results)}")
    typer.echo(f"report: {store.folder / 'report.md'}")
    return results


def explain(not_done: NotDone, results: Results) -> None:
    """Print a line per run and floor row that is not done, what waits for them, and how to retry them."""
    for message in not_done.floor:
        typer.echo(message, err=True)
    for record in not_done.runs:
        title = results.matrix.title(record.spec)
        typer.echo(f"{record.status}: {title} ({record.id}): {record.reason}", err=True)
    if not_done.runs:
        for line in explain_waiting(results.matrix, results.plan):
            typer.echo(line, err=True)
        typer.echo(
            f"{len(not_done.runs)} runs failed; tracebacks are in {results.store.records}/<id>.json. "
            "Run the same command to retry them.",
            err=True,
        )


def recommend_first(results: Results) -> None:
    """Print what is recommended until more is run."""
    typer.echo(f"\nFirst recommendation\n{build.recommendation(results, with_legend=False)}")


def recommend(results: Results, more: str = "") -> None:
    """Print the recommendation, a sentence more, and the command that classifies with the winner."""
    matrix, folder = results.matrix, results.store.folder
    typer.echo(f"\nRecommendation\n{build.recommendation(results)}")
    if more:
        typer.echo(f"\n{textwrap.fill(more, build.TERMINAL_COLUMNS)}")
    if matrix.keep_weights == "none":
        return
    where = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
    best = f"--best {shlex.quote(folder.name)}{' --dataset NAME' if len(matrix.datasets) > 1 else ''}{where}"
    typer.echo(f"\nClassify with the winner: python -m benchmark predict {best} IMAGE…")
