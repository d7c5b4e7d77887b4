"""Execution of the selected runs of a matrix: checks, preparation, runs, records and floor rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmark.analysis import looks
from benchmark.errors import UserError
from benchmark.execution.claims import ClaimedRuns, Watcher, execute_runs
from benchmark.execution.display import display
from benchmark.execution.executor import Executor
from benchmark.execution.floor import FloorRows
from benchmark.execution.forecast import execution_order
from benchmark.execution.gpus import default_workers
from benchmark.execution.interim import Descriptions, InterimResults
from benchmark.execution.local import LocalExecutor
from benchmark.execution.place import Place
from benchmark.execution.preflight import preflight
from benchmark.execution.ray_cluster import RayExecutor, import_ray, require_answer
from benchmark.execution.slurm import SlurmExecutor, import_submitit, parse_options
from benchmark.execution.tracking import TrackedRuns, require_tracker
from benchmark.files import write_atomically
from benchmark.matrix import file
from benchmark.matrix.matrix import UntilSettled
from benchmark.matrix.tuning import dependencies
from benchmark.records import groups_file
from benchmark.records.floor import FloorStore
from benchmark.records.locks import folder_locked
from benchmark.records.plan import Plan, PlannedRun, make_plan
from benchmark.records.record import RunRecord
from benchmark.records.selection import Selection
from benchmark.training.context import RunContext


class NotDone(NamedTuple):
    """Runs and floor rows that a command did not complete.

    Attributes:
        runs: records of the runs.
        floor: one message per floor row.
    """

    runs: list[RunRecord]
    floor: list[str]


def execute(
    selection: Selection,
    todo: Sequence[PlannedRun],
    place: Place,
    *,
    descriptions: Descriptions,
    force: bool = False,
    quiet: bool = False,
) -> NotDone:
    """Execute runs, and at the same time compute missing floor rows of the selected runs' datasets.

    Args:
        selection: selection that contains the runs.
        todo: the runs.
        place: place of the execution.
        descriptions: the results on disk as text, for the time of the execution.
        force: whether to start from scratch and ignore checkpoints and floor rows on disk.
        quiet: whether to print only warnings.

    Raises:
        UserError: the results folder belongs to another matrix or cannot be written, or a problem would stop a run.
    """
    _refuse_another_matrix(selection)
    known = {run.spec.id for run in todo}
    todo = [*todo, *(run for run in _next_seeds(selection) if run.spec.id not in known)]
    if todo:
        _require_cluster(place)  # before images are prepared
        if place.tracker is not None:
            require_tracker(place.tracker)
    store = selection.store
    floor = FloorRows(selection.floor(), FloorStore(store.folder), place.data_dir, from_scratch=force)
    with floor, display(len(todo), selection.matrix.title, quiet=quiet) as screen:

        def save_floor() -> None:
            floor.save(lambda: screen.text(descriptions.floor_table()))

        if todo:
            watcher = InterimResults(screen, descriptions, lambda: floor.is_active)
            failed = _execute(selection, list(todo), place, floor.start, save_floor, watcher, force)
            return NotDone(failed, floor.wait())
        _keep_matrix(selection)
        if floor.are_missing:
            floor.start()
            save_floor()
        return NotDone([], floor.wait())


def _execute(
    selection: Selection,
    todo: list[PlannedRun],
    place: Place,
    images_ready: Callable[[], None],
    checked: Callable[[], None],
    watcher: InterimResults,
    force: bool,
) -> list[RunRecord]:
    """Execute runs and return the records of those not done; ``checked`` is called before the first run starts."""
    matrix, store, screen = selection.matrix, selection.store, watcher.screen
    found = preflight(
        [planned.spec for planned in todo],
        place.data_dir,
        screen.show_preparation,
        images_ready=images_ready,
        same_images=isinstance(matrix.seeds, UntilSettled),
    )
    found.raise_problems(selection.place)
    here = default_workers(len(found.gpus), matrix.threads, place.runs_per_gpu)
    number = min(place.workers or (len(todo) if place.is_cluster else here), len(todo))
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
    screen.start_clock(number)
    checked()
    executor: Executor = LocalExecutor(number, found.gpus)
    if place.executor == "ray":
        executor = RayExecutor(place.ray_address, number, matrix.threads, place.runs_per_gpu)
    elif place.executor == "slurm":
        executor = SlurmExecutor(parse_options(place.slurm), number, matrix.threads)

    def execute_all(planned: Sequence[PlannedRun]) -> list[RunRecord]:
        ordered = execution_order(planned, selection.plan.done)
        with ClaimedRuns(store, ordered, from_scratch=force) as runs, ExitStack() as stack:
            followed: Watcher = watcher
            if place.tracker is not None:
                followed = stack.enter_context(TrackedRuns(watcher, place.tracker, matrix, store.folder))
            return execute_runs(runs, executor, context, matrix.timeout, followed)

    tuning = [run for run in todo if run.spec.trial is not None]
    failed = execute_all(tuning) if tuning else []
    left = _resolve(todo, make_plan(matrix, store), from_scratch=force) if tuning else todo
    watcher.expect_first_table([run.spec for run in left])
    while left:
        screen.set_remaining(len(left))
        failed += execute_all(left)
        left = _next_seeds(selection)
    return failed


def _require_cluster(place: Place) -> None:
    """Check an executor's options, that its libraries are installed, and that its cluster answers.

    Raises:
        UserError: one of these is not so.
    """
    if place.executor == "ray":
        import_ray()
        if place.ray_address is not None:
            require_answer(place.ray_address)
    elif place.executor == "slurm":
        import_submitit()
        parse_options(place.slurm)


def _next_seeds(selection: Selection) -> list[PlannedRun]:
    """Look at what is done, and return the pending runs of the seeds that this adds; none where no rule decides."""
    if not isinstance(selection.matrix.seeds, UntilSettled):
        return []
    looks.update(selection.matrix, selection.store)
    return [run for run in selection.replan().selected if run.state == "pending"]


def _resolve(todo: Sequence[PlannedRun], plan: Plan, *, from_scratch: bool) -> list[PlannedRun]:
    """Return the reported runs to execute, from a plan made after their tuning runs."""
    asked = {(run.spec.cell, run.spec.seed) for run in todo if run.spec.trial is None}
    left = [run for run in plan.runs if from_scratch or run.state != "done"]
    return [run for run in left if run.state != "waiting" and (run.spec.cell, run.spec.seed) in asked]


def _refuse_another_matrix(selection: Selection) -> None:
    """Refuse a results folder with runs that are not in this matrix, or that it may run at another learning rate.

    Raises:
        UserError: there are such runs.
    """
    path = selection.store.matrix
    if path.is_file():
        lost = dependencies(file.load(path)) - dependencies(selection.matrix)
        if lost:
            raise UserError(
                f"{path}: these results belong to another matrix: {len(lost)} of its runs are not in this one. "
                f"Give this matrix a separate folder with --name, e.g. --name {selection.matrix.name}-2."
            )


def _keep_matrix(selection: Selection) -> None:
    """Write the effective matrix if the folder lacks it.

    Raises:
        UserError: another command has written another matrix in the meantime, or the folder cannot be written.
    """
    path = selection.store.matrix
    content = file.dump(selection.matrix).encode()
    if not path.is_file() or path.read_bytes() != content:
        with folder_locked(selection.store.folder):
            _refuse_another_matrix(selection)
            write_atomically(path, content)
