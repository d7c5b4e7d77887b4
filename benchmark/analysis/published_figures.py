"""Figures that a source states for one run, beside what our runs of the same experiment give."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from benchmark import matrix_file
from benchmark.analysis.interval import CONFIDENCE, SEEDS_FOR_A_VERDICT, t_quantile
from benchmark.analysis.published import Figure, Metric, Source
from benchmark.analysis.results import Cell, Results
from benchmark.matrix import RunSpec, expand
from benchmark.records import DoneRun


@dataclass(frozen=True)
class Compared:
    """A published figure and ours.

    Attributes:
        figure: what the source states.
        values: ours, by seed; empty where no run of the cell is done.
        asked: seeds that the matrix asks for.
        as_published: whether the cell's runs are those of the source's matrix, seeds and threads apart; where it is
            not, `values` is empty.
    """

    figure: Figure
    values: tuple[float, ...]
    asked: int
    as_published: bool

    @property
    def ours(self) -> float | None:
        """Mean over seeds."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.ours is None else self.ours - self.figure.value

    @property
    def half_width(self) -> float | None:
        """Half the 95 % prediction interval of one more run: t(0.975, S - 1) s sqrt(1 + 1 / S).

        The source shows one run, on the same test images: what separates it from the mean of our S runs, if nothing
        else differs, is the seed, its own and ours. s is the standard deviation of ours. None below three seeds.
        (Hahn and Meeker 1991, "Statistical Intervals", ch. 4.)
        """
        seeds = len(self.values)
        if seeds < SEEDS_FOR_A_VERDICT:
            return None
        t = t_quantile((1 + CONFIDENCE) / 2, seeds - 1)
        return t * statistics.stdev(self.values) * math.sqrt(1 + 1 / seeds)

    @property
    def within(self) -> bool | None:
        """Whether theirs lies within the interval; None where there is none."""
        if self.difference is None or self.half_width is None:
            return None
        return abs(self.difference) <= self.half_width


def compare(source: Source, results: Results) -> list[Compared]:
    """Return the figures of a source whose cells the matrix has, in the order of the file.

    Raises:
        UserError: the source names a matrix that there is not.
    """
    if source.matrix is None or not source.figures:
        return []
    theirs = {spec.cell: spec for spec in expand(matrix_file.load(matrix_file.find(source.matrix)))}
    ours = {run.spec.cell: run.spec for run in results.plan.runs}
    found = []
    for figure in source.figures:
        key = (figure.dataset, figure.input_mode, figure.policy, figure.model)
        if key in results.cells:
            cell = results.cells[key]
            same = _setting(ours[key]) == _setting(theirs[key])
            found.append(Compared(figure, _values(cell, figure.metric) if same else (), len(cell.asked), same))
    return found


def _setting(spec: RunSpec) -> str:
    return spec.model_copy(update={"seed": 0, "threads": 1}).id


def _values(cell: Cell, metric: Metric) -> tuple[float, ...]:
    return tuple(_value(record, metric) for record in cell.records.values())


def _value(record: DoneRun, metric: Metric) -> float:
    if metric == "last_epoch_test_accuracy":
        return record.last_epoch_test_accuracy
    return record.history[-1].train_loss
