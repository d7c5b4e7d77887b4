"""``run --folder``: on a CPU the heads first, then as much training of whole networks as the budget allows."""

from __future__ import annotations

import itertools
import shlex
import textwrap
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import typer

from benchmark import api
from benchmark.api import Results
from benchmark.cli.run import explain
from benchmark.errors import UserError
from benchmark.execution.forecast import Pace, expected_seconds, run_times
from benchmark.execution.gpus import default_workers, list_gpus
from benchmark.execution.matrix_run import NotDone
from benchmark.execution.pace import measure_pace
from benchmark.execution.place import Place
from benchmark.execution.side_process import call_in_side_process
from benchmark.matrix import file
from benchmark.matrix.own_folder import (
    HEADS,
    KEPT,
    LADDER,
    MATRIX,
    TRAINED,
    Sizes,
    fit,
    in_words,
    list_larger,
    merged,
    sizes_of,
    with_sizes,
)
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.plan import PlannedRun
from benchmark.records.record import RunRecord
from benchmark.records.selection import Selection, select
from benchmark.report import build
from benchmark.words import duration, seconds_in

BUDGET = "10min"
"""Default of ``--budget``."""

RESERVE = 0.1
"""Share of the budget that forecasts leave free, for the report and for runs that take longer than forecast."""


@dataclass(frozen=True)
class FolderRequest:
    """Options of `run --folder`.

    Attributes:
        started: start of the command, by `time.monotonic`.
    """

    folder: Path
    overrides: Sequence[str]
    only: Sequence[str] | None
    name: str | None
    results: Path
    budget: str | None
    force: bool
    started: float


class Option(NamedTuple):
    """Image sizes that a folder's matrix could have, and the expected time of its runs that are not done, seconds."""

    sizes: Sizes
    seconds: float


def run_folder(request: FolderRequest, place: Place) -> Results:
    """Execute the matrix of a user's folder, write its report and recommend; return the results.

    On a CPU whole networks are trained at the largest size of `LADDER` that the budget allows, by a forecast from a
    short training. The kept matrix has that size: later commands keep it, and one with a ``--budget`` may add a larger
    one.

    Raises:
        UserError: the folder or an option is wrong, or the short training failed.
    """
    budget = seconds_in(request.budget or BUDGET)
    if budget is None:
        raise UserError(f"--budget {request.budget}: write a number with its unit, e.g. 90s, 10min or 1h.")
    fitted = fit(request.folder, request.overrides, has_gpu=lambda: bool(call_in_side_process(list_gpus)))
    settled = fitted.settled or (
        "--only chooses runs" if request.only else "a cluster executes" if place.executor != "local" else None
    )
    if settled and request.budget is not None:
        raise UserError(f"--budget {request.budget}: it chooses image sizes, but here {settled}. Leave it out.")
    for choice in fitted.choices:
        typer.echo(choice)
    base = select(MATRIX, [*fitted.overrides, *request.overrides], None, request.name, request.results, verify=True)
    command = _Command(request, place, base, settled is not None)
    if fitted.settled:
        return command.run(base.with_matrix(base.matrix, request.only))
    kept = sizes_of(file.load(base.store.matrix)) if base.store.matrix.is_file() else {}
    are_trained = bool(set(TRAINED) & set(kept))
    if settled and not are_trained:
        kept = merged(HEADS, dict.fromkeys(TRAINED, LADDER[:1]))
    if settled or (are_trained and request.budget is None):
        return command.run(command.select_sizes(kept, request.only))
    return command.run_in_phases(merged(kept, command.heads(budget)), budget)


@dataclass(frozen=True)
class _Command:
    request: FolderRequest
    place: Place
    base: Selection
    is_settled: bool

    @property
    def workers(self) -> int:
        return self.place.workers or default_workers(0, self.base.matrix.threads)

    def select_sizes(self, sizes: Sizes, only: Sequence[str] | None = None) -> Selection:
        return self.base.with_matrix(with_sizes(self.base.matrix, sizes), only)

    def execute(self, selection: Selection, todo: Sequence[PlannedRun], *, first_table: bool) -> NotDone:
        return api.execute(
            selection, todo, self.place, first_table=first_table, force=self.request.force, progress=True
        )

    def run(
        self,
        selection: Selection,
        tried: Collection[str] = (),
        failed: Sequence[RunRecord] = (),
        pace: Pace | None = None,
    ) -> Results:
        """Execute the selected runs that are not done, except those that were tried; report and recommend.

        Args:
            selection: the runs.
            tried: ids of the runs that this command has executed.
            failed: records of those that are not done.
            pace: the pace measured after the first recommendation, or None if there was none.
        """
        todo = [run for run in selection.todo(force=self.request.force) if run.spec.id not in tried]
        not_done = self.execute(selection, todo, first_table=pace is None)
        results = api.write_report(selection, NotDone([*failed, *not_done.runs], not_done.floor), progress=True)
        explain(results)
        recommend(results, "" if self.is_settled else self.more_time(results, pace))
        return results

    def heads(self, budget: float) -> Sizes:
        """Return the sizes of the heads that a budget of some seconds allows; say what it does not."""
        plan = self.select_sizes(HEADS).plan
        times = run_times([run.spec for run in plan.runs], plan.finished, "cpu")
        cells = {run.spec.cell: times[run.spec.id].seconds for run in plan.runs}  # whose seeds share their features
        seconds = dict.fromkeys(HEADS[KEPT], 0.0)
        for cell, expected in cells.items():
            seconds[cell.image_size] += expected / self.workers
        chosen = choose_heads(seconds, budget)
        for size in set(seconds) - set(chosen):
            typer.echo(
                f"{KEPT} at {size} px is left out: about {duration(seconds[size])}, by rates measured elsewhere."
            )
        return {KEPT: chosen}

    def run_in_phases(self, sizes: Sizes, budget: float) -> Results:
        """Execute heads on cached features, recommend, and train whole networks in the time that is left.

        Args:
            sizes: image sizes of the kept matrix, or `HEADS`.
            budget: seconds from the start of the command.
        """
        first = self.select_sizes(sizes)
        modes = {run.spec.input_mode for run in first.selected if run.spec.policy == KEPT}
        heads = [run for run in first.todo(force=self.request.force) if run.spec.policy == KEPT]
        heads = [run for run in heads if not is_repetition(run.spec.input_mode, modes)]
        not_done = self.execute(first, heads, first_table=False)
        results = api.read_results(first.matrix, first.store)
        typer.echo(f"\nFirst recommendation\n{build.recommendation(results.loaded, with_legend=False)}")
        pace = measure_pace(self._samples(), self.place.data_dir)
        tried = {run.spec.id for run in heads}
        left = self.request.started + budget * (1 - RESERVE) - time.monotonic()
        options = self.options(sizes, pace, tried)
        chosen = choose(options, left)
        typer.echo(_next(chosen, options, sizes, left))
        return self.run(self.select_sizes(chosen.sizes if chosen else sizes), tried, not_done.runs, pace)

    def _samples(self) -> list[RunSpec]:
        """Return as many runs of the smallest size as are executed at a time."""
        smallest = self.select_sizes({TRAINED[0]: LADDER[:1]})
        return [run.spec for run in smallest.plan.runs][: self.workers]

    def options(self, sizes: Sizes, pace: Pace, tried: Collection[str] = ()) -> list[Option]:
        """Return what a larger budget could buy beyond some sizes, the best first."""
        found = []
        for larger in list_larger(sizes):
            plan = self.select_sizes(larger).plan
            specs = [spec for spec in plan.todo if spec.id not in tried]
            found.append(Option(larger, expected_seconds(specs, plan.done, pace, self.workers)))
        return found

    def more_time(self, results: Results, pace: Pace | None) -> str:
        """Return in words what more time would buy, empty if that is unknown or there is nothing more.

        Args:
            results: everything so far.
            pace: the measured pace; the times of done runs take precedence.
        """
        trained = [record for record in results.loaded.plan.done if record.spec.policy in TRAINED]
        pace = Pace.of(trained) if trained else pace
        sizes = sizes_of(results.matrix)
        options = self.options(sizes, pace) if pace else []
        if not options:
            return ""
        cheapest = min(options, key=lambda option: option.seconds)
        minutes = ceil(cheapest.seconds / (1 - RESERVE) / 60) + 1
        return (
            f"More time would buy {in_words(cheapest.sizes, sizes)}, in about {duration(cheapest.seconds)}: "
            f"run the same command with --budget {minutes}min."
        )


def recommend(results: Results, more: str = "") -> None:
    """Print the recommendation, one more sentence, and the command that classifies with the winner."""
    matrix, folder = results.matrix, results.folder
    typer.echo(f"\nRecommendation\n{build.recommendation(results.loaded)}")
    if more:
        typer.echo(f"\n{textwrap.fill(more, build.TERMINAL_COLUMNS)}")
    if matrix.keep_weights == "none":
        return
    where = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
    best = f"--best {shlex.quote(folder.name)}{' --dataset NAME' if len(matrix.datasets) > 1 else ''}{where}"
    typer.echo(f"\nClassify with the winner: python -m benchmark predict {best} IMAGE…")


def is_repetition(mode: str, modes: Collection[str]) -> bool:
    """Return whether heads on cached features repeat those of another mode, for which no recommendation has to wait.

    One channel with the summed filters is three equal ones, where all channels have one mean and standard deviation.

    Args:
        mode: input mode of the heads.
        modes: input modes with runs; only grey-1ch for weights with one channel.
    """
    return mode == "grey-1ch" and "grey-3ch" in modes


def choose_heads(seconds: Mapping[int, float], budget: float) -> tuple[int, ...]:
    """Return the image sizes whose heads together take at most half of a budget, and the smallest in any case.

    Args:
        seconds: expected time of the heads of each size, ascending.
        budget: seconds.
    """
    together = itertools.accumulate(seconds.values())
    return tuple(
        size for size, total in zip(seconds, together, strict=True) if size == min(seconds) or total <= budget / 2
    )


def choose(options: Sequence[Option], seconds: float) -> Option | None:
    """Return the first option that fits into some seconds, or None."""
    return next((option for option in options if option.seconds <= seconds), None)


def _next(chosen: Option | None, options: Sequence[Option], sizes: Sizes, left: float) -> str:
    """Return in words what is trained next, or why nothing is."""
    if chosen is not None:
        return (
            f"\nNext: {in_words(chosen.sizes, sizes)}, about {duration(chosen.seconds)} by a short training; "
            f"the budget leaves {duration(left)}."
        )
    if not options:
        return "\nNext: the remaining runs; every size is already in this matrix."
    cheapest = min(options, key=lambda option: option.seconds)
    return (
        f"\nNothing more fits into the remaining budget of {duration(max(0.0, left))}: by a short training "
        f"{in_words(cheapest.sizes, sizes)} would take about {duration(cheapest.seconds)}."
    )
