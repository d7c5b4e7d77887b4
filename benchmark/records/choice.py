"""The learning rate of each group of runs, chosen among the candidates of a matrix by its tuning runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.matrix.tuning import Group, group
from benchmark.records.record import TunedRun
from benchmark.words import count

if TYPE_CHECKING:
    from benchmark.records.plan import PlannedRun


@dataclass(frozen=True)
class Tried:
    """One candidate.

    Attributes:
        lr: the rate.
        asked: number of its tuning runs.
        done: of them, those done.
        diverged: of them, those that diverged.
        accuracy: mean validation accuracy of the done ones' chosen epochs, 0..1, or None if none is done.
        loss: their mean validation loss, nats per image.
    """

    lr: float
    asked: int
    done: int
    diverged: int
    accuracy: float | None
    loss: float | None


@dataclass(frozen=True)
class Choice:
    """The candidates of a group.

    Attributes:
        group: the runs that share the rate.
        tried: candidates, rates ascending.
        lr: the chosen one, or None if the choice cannot be made yet.
    """

    group: Group
    tried: tuple[Tried, ...]
    lr: float | None

    @property
    def obstacle(self) -> str:
        """Why no rate is chosen, in words."""
        asked, ended = sum(each.asked for each in self.tried), sum(each.done + each.diverged for each in self.tried)
        if ended < asked:
            return f"{asked - ended} of {count(asked, 'tuning run')} not done"
        return "a tuning run diverged at each of them; give lower ones"


def choose(tuning: Iterable[PlannedRun]) -> dict[Group, Choice]:
    """Return the choice of each group.

    The rate with the best mean validation accuracy, then with the lowest mean validation loss, then the smallest. It is
    made when every tuning run of the group is done or diverged, so that commands that share a folder, or resume one,
    choose the same. A rate at which a run diverged is out.

    Args:
        tuning: tuning runs with their states.
    """
    groups: dict[Group, dict[float, list[PlannedRun]]] = {}
    for run in tuning:
        assert run.spec.trial is not None, f"{run.spec} is not a tuning run"
        groups.setdefault(group(run.spec), {}).setdefault(run.spec.trial.lr, []).append(run)
    return {each: _choose(each, rates) for each, rates in groups.items()}


def _choose(of: Group, rates: dict[float, list[PlannedRun]]) -> Choice:
    tried = tuple(_try(lr, rates[lr]) for lr in sorted(rates))
    complete = all(each.done + each.diverged == each.asked for each in tried)
    eligible = [
        (round(each.accuracy, 9), -each.loss, -each.lr)  # rounded: equal means of other numbers differ in the last bit
        for each in tried
        if each.done == each.asked and each.accuracy is not None and each.loss is not None
    ]
    return Choice(of, tried, -max(eligible)[2] if complete and eligible else None)


def _try(lr: float, runs: Sequence[PlannedRun]) -> Tried:
    found = [run.record.validation for run in runs if run.state == "done" and isinstance(run.record, TunedRun)]
    means = [math.fsum(values) / len(found) for values in zip(*((s.accuracy, s.log_loss) for s in found), strict=True)]
    accuracy, loss = means or (None, None)
    return Tried(lr, len(runs), len(found), sum(run.state == "diverged" for run in runs), accuracy, loss)
