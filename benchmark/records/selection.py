"""Selection of runs of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.data.folders import list_folder
from benchmark.errors import UserError, did_you_mean
from benchmark.matrix import file
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.tuning import group
from benchmark.records.floor import PlannedRow, plan_floor
from benchmark.records.plan import FAILURES, STATES, Plan, PlannedRun, make_plan
from benchmark.records.store import Store


@dataclass(frozen=True)
class Selection:
    """A matrix with its results folder, and the runs that a command uses.

    Attributes:
        selected: tuning runs that the selected runs wait for, then the runs that the selectors name.
        only: the selectors, ``KEY=VALUE``.
        source: file of the matrix, or None if this command did not read it.
        overrides: ``KEY=VALUE``, as given to ``--set``.
        left_out: values removed from the matrix because the settings contradict them and no selector names them, with
            the reason.
    """

    matrix: Matrix
    store: Store
    plan: Plan
    selected: tuple[PlannedRun, ...]
    only: tuple[str, ...] = ()
    source: Path | None = None
    overrides: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def todo(self, *, force: bool = False) -> list[PlannedRun]:
        """Return the selected runs that are not done, or with ``force`` all selected runs."""
        return [run for run in self.selected if force or run.state != "done"]

    def place(self, key: str) -> str:
        """Return where a top-level key of the matrix was given, for messages."""
        return f"matrix {self.matrix.name}" if self.source is None else file.place(self.source, self.overrides, key)

    def remarks(self) -> list[str]:
        """Return messages on parts of the matrix or its folders that are left out or read in a surprising way."""
        folders = [entry for entry in self.matrix.datasets if entry.is_folder]
        of_folders = [f"{entry.title}: {remark}" for entry in folders for remark in list_folder(entry).important]
        return [*self.left_out, *of_folders]

    def floor(self) -> tuple[PlannedRow, ...]:
        """Return the floor rows for the images of the selected reported runs, with their current state on disk."""
        runs = [planned.spec for planned in self.selected if planned.spec.trial is None]
        return plan_floor(runs, self.store.folder, self.plan.done)

    def with_matrix(self, matrix: Matrix, only: Sequence[str] | None = None) -> Selection:
        """Replace the matrix by another one with the same images and name, and compare it with the records on disk.

        Raises:
            UserError: a selector is wrong, or no run matches.
        """
        plan, only = make_plan(matrix, self.store), tuple(only or ())
        return replace(self, matrix=matrix, plan=plan, selected=_filter(plan, only), only=only)

    def replan(self) -> Selection:
        """Compare the matrix with the records that are on disk now."""
        return self.with_matrix(self.matrix, self.only)


def select(
    matrix: str,
    overrides: Sequence[str] | None,
    only: Sequence[str] | None,
    name: str | None,
    results: Path,
    *,
    verify: bool = False,
) -> Selection:
    """Read a matrix and select some of its runs; with ``verify``, hash known folders again.

    Raises:
        UserError: the matrix, an override or a selector is wrong, or no run matches.
    """
    source = file.find(matrix)
    loaded, left_out = file.load_for(source, overrides or (), name, _wanted(only or ()))
    selection = select_runs(loaded, only or (), results, verify=verify)
    return replace(selection, source=source, overrides=tuple(overrides or ()), left_out=left_out)


def select_runs(matrix: Matrix, only: Sequence[str], results: Path, *, verify: bool = False) -> Selection:
    """Compare a matrix with its results folder below ``results`` and select some of its runs; see `select`."""
    identified = identify_weights(identify_folders(matrix, verify=verify), verify=verify)
    store = Store(results / identified.name)
    plan = make_plan(identified, store)
    return Selection(identified, store, plan, _filter(plan, only), tuple(only))


def _value(run: PlannedRun, key: str) -> str:
    return run.state if key == "status" else str(getattr(run.spec, key))


def _wanted(only: Sequence[str]) -> dict[str, set[str]]:
    """Return the values named by selectors, per key."""
    keys = ("dataset", "input_mode", "policy", "model", "image_size", "seed", "status")
    wanted: dict[str, set[str]] = {}
    for selector in only:
        key, equals, value = selector.partition("=")
        if not equals:
            raise UserError(f"--only {selector}: write KEY=VALUE, e.g. --only dataset=beans.")
        if key not in keys:
            raise UserError(f"--only {selector}: unknown key {key!r}.{did_you_mean(key, keys)}")
        wanted.setdefault(key, set()).add(value)
    return wanted


def _filter(plan: Plan, only: Sequence[str]) -> tuple[PlannedRun, ...]:
    wanted = _wanted(only)
    for key, values in wanted.items():
        known = set(STATES) if key == "status" else {_value(run, key) for run in plan.all_runs}
        for value in sorted(values - known):
            raise UserError(f"--only {key}={value}: the matrix has no such {key}.{did_you_mean(value, known)}")
    if "failed" in wanted.get("status", ()):
        wanted["status"].update(FAILURES)

    def is_named(run: PlannedRun) -> bool:
        return all(_value(run, key) in values for key, values in wanted.items())

    named = [run for run in plan.runs if is_named(run)]
    waiting = {group(run.spec) for run in named if run.state == "waiting"}
    tuning = [run for run in plan.tuning if is_named(run) or (run.state != "done" and group(run.spec) in waiting)]
    return (*tuning, *named)


def explain_waiting(matrix: Matrix, plan: Plan) -> list[str]:
    """Return one line per group of runs that waits for its learning rate, with the reason."""
    waiting = [choice for choice in plan.choices if choice.lr is None]
    titles = [matrix.add_setup(str(choice.group), choice.group.setup) for choice in waiting]
    return [
        f"waiting: {title}: no learning rate is chosen: {choice.obstacle}"
        for title, choice in zip(titles, waiting, strict=True)
    ]
