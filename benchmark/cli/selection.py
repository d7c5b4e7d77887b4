"""A matrix, its results folder and some of its runs, as named by the options of several verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    """A matrix with its results folder, and the runs that a command is about.

    Attributes:
        source: file of the matrix.
        overrides: ``KEY=VALUE``, as given to ``--set``.
        selected: what the selectors name, and the tuning runs that one of these runs waits for; tuning runs first.
    """

    matrix: Matrix
    source: Path
    overrides: tuple[str, ...]
    store: Store
    plan: Plan
    selected: tuple[PlannedRun, ...]

    def floor(self) -> tuple[PlannedRow, ...]:
        """Return the floor rows of the images that the selected reported runs use, as they are on disk now."""
        runs = [planned.spec for planned in self.selected if planned.spec.trial is None]
        return plan_floor(runs, self.store.folder, self.plan.done)

    def with_matrix(self, matrix: Matrix, only: Sequence[str] | None = None) -> Selection:
        """Return another matrix of the same images and name, compared with the records on disk now.

        Raises:
            UserError: a selector is wrong, or no run matches.
        """
        plan = make_plan(matrix, self.store)
        return replace(self, matrix=matrix, plan=plan, selected=_filter(plan, only or ()))


def select(
    matrix: str,
    overrides: Sequence[str] | None,
    only: Sequence[str] | None,
    name: str | None,
    results: Path,
    *,
    verify: bool = False,
) -> Selection:
    """Resolve the options that name a matrix and some of its runs; with ``verify``, hash known folders again.

    Raises:
        UserError: the matrix, an override or a selector is wrong, or no run matches.
    """
    source = file.find(matrix)
    loaded = file.load(source, overrides or (), name)
    loaded = identify_weights(identify_folders(loaded, verify=verify), verify=verify)
    store = Store(results / loaded.name)
    plan = make_plan(loaded, store)
    return Selection(loaded, source, tuple(overrides or ()), store, plan, _filter(plan, only or ()))


def _value(run: PlannedRun, key: str) -> str:
    return run.state if key == "status" else str(getattr(run.spec, key))


def _filter(plan: Plan, only: Sequence[str]) -> tuple[PlannedRun, ...]:
    keys = ("dataset", "input_mode", "policy", "model", "image_size", "seed", "status")
    wanted: dict[str, set[str]] = {}
    for selector in only:
        key, equals, value = selector.partition("=")
        if not equals:
            raise UserError(f"--only {selector}: write KEY=VALUE, e.g. --only dataset=beans.")
        if key not in keys:
            raise UserError(f"--only {selector}: unknown key {key!r}.{did_you_mean(key, keys)}")
        known = set(STATES) if key == "status" else {_value(run, key) for run in plan.everything}
        if value not in known:
            raise UserError(f"--only {selector}: the matrix has no such {key}.{did_you_mean(value, known)}")
        values = FAILURES if (key, value) == ("status", "failed") else (value,)
        wanted.setdefault(key, set()).update(values)

    def is_named(run: PlannedRun) -> bool:
        return all(_value(run, key) in values for key, values in wanted.items())

    named = [run for run in plan.runs if is_named(run)]
    waiting = {group(run.spec) for run in named if run.state == "waiting"}
    tuning = [run for run in plan.tuning if is_named(run) or (run.state != "done" and group(run.spec) in waiting)]
    return (*tuning, *named)


def explain_waiting(matrix: Matrix, plan: Plan) -> list[str]:
    """Return one line per group of runs that waits for its learning rate: why none is chosen."""
    waiting = [choice for choice in plan.choices if choice.lr is None]
    titles = [matrix.add_setup(str(choice.group), choice.group.setup) for choice in waiting]
    return [
        f"waiting: {title}: no learning rate is chosen: {choice.obstacle}"
        for title, choice in zip(titles, waiting, strict=True)
    ]
