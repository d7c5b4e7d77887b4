"""Resolution of a matrix before anything runs: the smallest visible difference, and the seeds for equivalence.

For the comparison of the two grey ways, which test images hardly enter: no image prefers one of them, so that what runs
differ by decides. It imports no scipy, because `plan` answers at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, variance
from typing import NamedTuple

from benchmark.matrix.matrix import Matrix
from benchmark.records.plan import Plan
from benchmark.records.record import DoneRun
from benchmark.words import count

RUN_SD = 0.014
"""Standard deviation of test accuracy between runs of one cell, shares, where no run is done: that of beans, 128 test
images, in this benchmark's version 1 (elpv, 333 images: 0.0115)."""

PAIR = ("grey-3ch", "grey-1ch")
POLICIES = ("finetune", "finetune-whole")
"""The policies over which the question about channels is answered."""


class Resolution(NamedTuple):
    """Resolution of a matrix on one dataset.

    Attributes:
        dataset: title.
        run_sd: standard deviation of test accuracy between runs of a cell, shares.
        runs: done runs that it is estimated from, or 0 for `RUN_SD`.
        visible: smallest difference that is shown in 80 % of repetitions, shares.
        seeds: number with which equivalence within the margin is, were there no difference.
    """

    dataset: str
    run_sd: float
    runs: int
    visible: float
    seeds: int


def resolution(matrix: Matrix, plan: Plan) -> list[Resolution]:
    """Return the resolution of a matrix on each dataset, empty if it does not have both grey ways and such a policy.

    The variance of the mean difference over P policies and S seeds is 2 sd^2 / (P S), plus 2 sd^2 / (P (K - 1)) in a
    cross-validation of K folds (`uncertainty.means`).
    """
    policies = [policy for policy in POLICIES if policy in matrix.policies]
    if not policies or not {*PAIR} <= {*matrix.input_modes}:
        return []
    z = NormalDist().inv_cdf
    found = []
    for entry in matrix.datasets:
        own = [run for run in plan.done if run.spec.dataset == entry.title]
        of_runs, number = _between_runs(own, matrix)
        one = 2 * of_runs / len(policies)
        folds = next((run.dataset.folds for run in own if run.dataset.folds), None)
        overlap = 1 / (folds - 1) if folds else 0.0
        visible = (z(0.975) + z(0.80)) * math.sqrt(one * (1 / len(matrix.seeds) + overlap))
        seeds = math.ceil(one * ((z(0.95) + z(0.90)) / (matrix.equivalence_margin / 100)) ** 2)
        found.append(Resolution(entry.title, math.sqrt(of_runs), number, visible, seeds))
    return found


def in_words(found: Sequence[Resolution], matrix: Matrix) -> str:
    """Return the resolutions as text, one line per dataset; empty without any."""
    if not found:
        return ""
    compared = f"{PAIR[0]} against {PAIR[1]}, {count(len(matrix.seeds), 'seed')}"
    lines = [f"{compared}: what this matrix can show with 80 % power, as far as runs differ; test images may add to it"]
    for each in found:
        source = f"as in {each.runs} done runs" if each.runs else "assumed: no run is done"
        lines.append(
            f"- about {100 * each.visible:.1f} points on {each.dataset}; for equivalence within "
            f"{matrix.equivalence_margin:g} it takes about {each.seeds} seeds "
            f"(runs vary by {100 * each.run_sd:.1f} points, {source})"
        )
    return "\n".join(lines)


def _between_runs(own: Sequence[DoneRun], matrix: Matrix) -> tuple[float, int]:
    """Return the mean variance between the runs of a cell that trains its backbone, and the number of these runs.

    Folds have images of their own, whose part, p (1 - p) / images, is taken off.
    """
    cells: dict[object, list[DoneRun]] = {}
    for run in own:
        if any(rule.trainable != "head" for rule in matrix.policy(run.spec.policy).stages):
            cells.setdefault(run.spec.cell, []).append(run)
    several = [runs for runs in cells.values() if len(runs) > 1]
    estimated = fmean(map(_between, several)) if several else 0.0
    return (estimated, sum(map(len, several))) if estimated > 0 else (RUN_SD**2, 0)


def _between(runs: Sequence[DoneRun]) -> float:
    accuracies = [run.test.accuracy for run in runs]
    of_images = fmean(p * (1 - p) / run.dataset.test_images for p, run in zip(accuracies, runs, strict=True))
    return variance(accuracies) - (of_images if runs[0].dataset.folds else 0.0)
