"""Choice of the learning rate of each group of runs, from the matrix's candidates, by its tuning runs."""

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
class TriedRate:
    """One candidate learning rate and its tuning runs.

    Attributes:
        lr: the learning rate.
        asked: number of tuning runs.
        done: number of done tuning runs.
        diverged: number of diverged tuning runs.
        accuracy: mean validation accuracy of the done runs' chosen epochs, 0..1, or None if no run is done.
        loss: mean validation loss of the same epochs, nats per image, or None.
    """

    lr: float
    asked: int
    done: int
    diverged: int
    accuracy: float | None
    loss: float | None


@dataclass(frozen=True)
class Choice:
    """The candidates of a group of runs and the choice among them.

    Attributes:
        group: the runs that share the learning rate.
        tried: the candidates, in ascending order.
        lr: the chosen learning rate, or None if it cannot be chosen yet.
    """

    group: Group
    tried: tuple[TriedRate, ...]
    lr: float | None

    @property
    def obstacle(self) -> str:
        """The reason why no learning rate is chosen."""
        asked, ended = sum(each.asked for each in self.tried), sum(each.done + each.diverged for each in self.tried)
        if ended < asked:
            return f"{asked - ended} of {count(asked, 'tuning run')} not done"
        return "a tuning run diverged at every candidate; add lower ones"


def choose(tuning: Iterable[PlannedRun]) -> dict[Group, Choice]:
    """Return the choice of each group.

    The candidate with the highest mean validation accuracy is chosen; ties are broken by the lowest mean validation
    loss, then by the smallest learning rate. Candidates with a diverged run are excluded. The choice is made when every
    tuning run of the group is done or diverged, so that commands that share or resume a folder choose the same.

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
        (round(each.accuracy, 9), -each.loss, -each.lr)  # rounded, since equal means may differ in the last bit
        for each in tried
        if each.done == each.asked and each.accuracy is not None and each.loss is not None
    ]
    return Choice(of, tried, -max(eligible)[2] if complete and eligible else None)


def _try(lr: float, runs: Sequence[PlannedRun]) -> TriedRate:
    found = [run.record.validation for run in runs if run.state == "done" and isinstance(run.record, TunedRun)]
    means = [math.fsum(values) / len(found) for values in zip(*((s.accuracy, s.log_loss) for s in found), strict=True)]
    accuracy, loss = means or (None, None)
    return TriedRate(lr, len(runs), len(found), sum(run.state == "diverged" for run in runs), accuracy, loss)
