"""Tuning runs, which choose learning rates, and the reported runs that wait for the choice.

Several values of ``training.lr`` are candidates. For each `Group` of reported runs one is chosen by tuning runs with
separate seeds (``tune_seeds``), using only validation images; for the rule see `benchmark.records.choice`.
"""

from __future__ import annotations

from typing import NamedTuple

from benchmark.data.splits.rules import FOLDS
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec, Setup, Trial


class Group(NamedTuple):
    """Runs that share one learning rate: those of a dataset, policy, model and image size in all input modes."""

    dataset: str
    policy: str
    model: str
    image_size: int
    fold: int | None
    """Test fold of the reported runs, or None without cross-validation."""

    @property
    def setup(self) -> Setup:
        """The model and the image size."""
        return Setup(self.model, self.image_size)

    def __str__(self) -> str:
        return f"{self.dataset} {self.policy}" + ("" if self.fold is None else f" fold {self.fold}")


def group(spec: RunSpec) -> Group:
    """Return the group of a run; for a tuning run, the group it chooses for."""
    return Group(spec.dataset, spec.policy, spec.model, spec.image_size, spec.fold)


def candidates(matrix: Matrix) -> list[tuple[RunSpec, ...]]:
    """Return each reported run of a matrix at each rate of ``training.lr``, both in matrix order."""
    return list(zip(*(expand(_at(matrix, lr)) for lr in matrix.training.lr), strict=True))


def tuning_runs(matrix: Matrix) -> list[RunSpec]:
    """Return the tuning runs: each rate in each cell with each tuning seed; none if there is only one rate.

    In a cross-validation they are repeated for each test fold of a reported run, without the images of that fold.
    """
    if not matrix.tune_seeds:
        return []
    folds = dict.fromkeys(seed % FOLDS for seed in matrix.seeds)
    return [
        spec.model_copy(update={"trial": Trial(lr=lr, fold=fold)})
        for lr in matrix.training.lr
        for spec in expand(_at(matrix, lr).model_copy(update={"seeds": matrix.tune_seeds}))
        for fold in ([None] if spec.fold is None else folds)
    ]


def every_run(matrix: Matrix) -> list[RunSpec]:
    """Return every run that a matrix may need, for any choice of learning rates."""
    return [*tuning_runs(matrix), *(spec for row in candidates(matrix) for spec in row)]


def dependencies(matrix: Matrix) -> set[frozenset[str]]:
    """Return, for each reported run, the ids of the runs that decide it: its own at each rate and its tuning runs.

    Two matrices with a common element have the same reported run, for any choice of learning rates.
    """
    choosing: dict[Group, set[str]] = {}
    for spec in tuning_runs(matrix):
        choosing.setdefault(group(spec), set()).add(spec.id)
    return {frozenset(choosing.get(group(row[0]), set()).union(spec.id for spec in row)) for row in candidates(matrix)}


def _at(matrix: Matrix, lr: float) -> Matrix:
    """Return a matrix with one learning rate, so that there is nothing to choose."""
    training = matrix.training.model_copy(update={"lr": (lr,)})
    return matrix.model_copy(update={"training": training, "tune_seeds": ()})
