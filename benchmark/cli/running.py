"""What ``run`` does: execute runs that are not done, show the table, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark import groups_file, matrix_file
from benchmark.cli.options import Where
from benchmark.cli.selection import Selection
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.forecast import longest_first
from benchmark.locks import folder_locked
from benchmark.matrix import expand
from benchmark.plan import Plan, make_plan

if TYPE_CHECKING:
    from benchmark.executors.interface import Executor
    from benchmark.plan import PlannedRun
    from benchmark.records import RunRecord


@dataclass(frozen=True)
class Place:
    """Where runs are executed, as the options say."""

    executor: Where
    ray_address: str | None
    workers: int | None
    """None: auto."""
    runs_per_gpu: int
    data_dir: Path | None

    def __post_init__(self) -> None:
        if self.ray_address is not None and self.executor is not Where.ray:
            raise UserError(f"--ray-address {self.ray_address}: give --executor ray with it.")


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
    """Keep the effective matrix, unless the folder belongs to another one.

    Raises:
        UserError: it does, or it cannot be written.
    """
    content = matrix_file.dump(selection.matrix).encode()
    _refuse_another_matrix(selection)
    if not selection.matrix_path.is_file() or selection.matrix_path.read_bytes() != content:
        with folder_locked(selection.store.folder):
            _refuse_another_matrix(selection)  # which another command may just have kept
            write_atomically(selection.matrix_path, content)


def execute(selection: Selection, todo: list[PlannedRun], place: Place, *, from_scratch: bool) -> list[RunRecord]:
    """Execute runs and return the records of those that are not done."""
    _refuse_another_matrix(selection)
    if not todo:
        _keep_matrix(selection)
        return []
    if place.executor is Where.ray:  # what is not there is told before images are prepared
        from benchmark.executors.ray import import_ray, require_answer

        import_ray()
        if place.ray_address is not None:
            require_answer(place.ray_address)
    from benchmark.cli.display import display
    from benchmark.execution import execute_runs
    from benchmark.executors.local import local_workers
    from benchmark.preflight import preflight
    from benchmark.preparation import default_workers
    from benchmark.run_context import RunContext
    from benchmark.sharing import ClaimedRuns

    matrix, store = selection.matrix, selection.store
    todo = _longest_first(todo, selection.plan)

    with ExitStack() as stack:
        shown = stack.enter_context(display(len(todo)))
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
        shown.starting(len(todo), context.workers)
        execute: Executor
        if place.executor is Where.local:
            execute = stack.enter_context(local_workers(number, found.gpus))
        else:
            execute = _on_ray(place, number, matrix.threads)
        with ClaimedRuns(store, todo, from_scratch=from_scratch) as runs:
            return execute_runs(runs, execute, context, matrix.timeout, shown)


def _on_ray(place: Place, workers: int, threads: int) -> Executor:
    from benchmark.executors.ray import RayExecutor

    return RayExecutor(place.ray_address, workers, threads, place.runs_per_gpu)


def _longest_first(todo: Sequence[PlannedRun], plan: Plan) -> list[PlannedRun]:
    """Return runs in the order in which to start them."""
    planned = {run.spec.id: run for run in todo}
    specs = [run.spec for run in todo]
    known = [run.record for run in plan.runs if run.record is not None]
    return [planned[spec.id] for spec in longest_first(specs, known)]


def conclude(selection: Selection, failed: list[RunRecord]) -> None:
    from benchmark import report

    matrix, store = selection.matrix, selection.store

    def plan() -> Plan:
        return make_plan((run.spec for run in selection.plan.runs), store)

    if store.checkpoints.is_dir():
        from benchmark.sharing import remove_done_checkpoints

        remove_done_checkpoints(store, [record.id for record in plan().done])
    typer.echo(report.terminal_table(matrix, plan(), store))
    if report.check(matrix, plan(), store):  # nothing is drawn again that shows the records as they are
        with folder_locked(store.folder):
            report.write(matrix, plan(), store)
    typer.echo(f"report: {store.folder / 'report.md'}")
    for record in failed:
        typer.echo(f"{record.status}: {record.spec} ({record.id}): {record.reason}", err=True)
    if failed:
        typer.echo(
            f"{len(failed)} runs are not done; their tracebacks stand in {store.records}/<id>.json. "
            "The same command tries them again.",
            err=True,
        )
