"""The done runs of a plan, checked and grouped by cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from benchmark.analysis.quality import calibration_error, confusion
from benchmark.analysis.statistics import UNTESTED, Interval, mean_of_scores
from benchmark.datasets.catalogue import CATALOGUE
from benchmark.errors import UserError
from benchmark.matrix import Matrix, NotApplicable, RunSpec, not_applicable
from benchmark.plan import Plan
from benchmark.records import RunRecord
from benchmark.store import Store

CellKey: TypeAlias = tuple[str, str, str, str]
"""(dataset, input mode, policy, model), as `RunSpec.cell`."""

SAME_ACCURACY = 1e-6
"""Largest difference between a record's accuracy and the one counted from its predictions: float32's rounding."""


@dataclass(frozen=True)
class Cell:
    """The runs of one cell.

    Attributes:
        key: (dataset, input mode, policy, model).
        asked: the matrix's seeds.
        records: done records by seed, seeds ascending.
        correct: int8, 1 where the prediction is the label, `UNTESTED` where the image is in another fold than the
            seed's; index: seeds ascending, columns: image ids ascending. Empty where no run is done.
        confusion: images by true class (row) and predicted class (column), summed over the done seeds; (0, 0) if none.
        calibration_errors: of each done seed, 0..1, seeds ascending.
    """

    key: CellKey
    asked: tuple[int, ...]
    records: Mapping[int, RunRecord]
    correct: pd.DataFrame = field(repr=False)
    confusion: np.ndarray = field(repr=False)
    calibration_errors: tuple[float, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds whose run is done, ascending."""
        return tuple(self.records)

    @cached_property
    def accuracy(self) -> Interval | None:
        """Test accuracy of the chosen checkpoint, 0..1, with its interval; None where no run is done."""
        return mean_of_scores(self.correct.to_numpy(), self.folds) if self.records else None

    @property
    def folds(self) -> int | None:
        """Folds of the cross-validation that the seeds stand for; None where all were tested on the same images."""
        return next((record.dataset.folds for record in self.records.values() if record.dataset), None)


@dataclass(frozen=True)
class Results:
    """A matrix's done runs.

    Attributes:
        matrix: the matrix.
        plan: every run of it with its state.
        cells: by key, in the matrix's order (dataset, model, input mode, policy); cells without a done run included.
        not_applicable: combinations that have no runs, with the reason.
    """

    matrix: Matrix
    plan: Plan
    cells: Mapping[CellKey, Cell]
    not_applicable: tuple[NotApplicable, ...]

    @property
    def datasets(self) -> tuple[str, ...]:
        """Titles of the datasets, in the matrix's order."""
        return tuple(entry.title for entry in self.matrix.datasets)

    @property
    def controls(self) -> frozenset[str]:
        """Titles of the generated datasets: they test the benchmark and are no evidence about real images."""
        generated = {name for name, info in CATALOGUE.items() if info.source == "generated"}
        return frozenset(entry.title for entry in self.matrix.datasets if entry.name in generated)

    def modes(self, dataset: str) -> tuple[str, ...]:
        """Return the input modes that a dataset can be shown in, in the matrix's order."""
        everything = self.matrix.policies
        left_out = {i.input_mode for i in self.not_applicable if i.dataset == dataset and i.policies == everything}
        return tuple(mode for mode in self.matrix.input_modes if mode not in left_out)

    def best(self, dataset: str) -> tuple[CellKey, ...]:
        """Return the keys of the dataset's highest mean accuracy, several at a tie, none without a done run."""
        means = {key: cell.accuracy.mean for key, cell in self.cells.items() if key[0] == dataset and cell.accuracy}
        return tuple(key for key, mean in means.items() if mean == max(means.values()))


def load(matrix: Matrix, plan: Plan, store: Store) -> Results:
    """Read the predictions of a plan's done runs and check them against their records.

    Raises:
        UserError: a record or its predictions are damaged, or do not agree with each other or with the dataset's other
            runs; the file is named. A wrong number is worse than no report.
    """
    if plan.damaged:
        named = "\n".join(f"  {item.path}: {item.reason}" for item in plan.damaged)
        raise UserError(f"damaged records; delete them and run the matrix again:\n{named}")
    done = {run.spec.id: run.record for run in plan.runs if run.state == "done" and run.record is not None}
    splits: dict[str, _TestSplit] = {}
    cells: dict[CellKey, Cell] = {}
    for key, specs in _by_cell(matrix, plan).items():
        records = {spec.seed: done[spec.id] for spec in specs if spec.id in done}
        tests = {seed: _checked(record, store, splits) for seed, record in records.items()}
        cells[key] = Cell(
            key=key,
            asked=tuple(spec.seed for spec in specs),
            records=records,
            correct=_matrix({seed: test.correct for seed, test in tests.items()}),
            confusion=np.sum([test.confusion for test in tests.values()], axis=0) if tests else np.zeros((0, 0), int),
            calibration_errors=tuple(test.calibration_error for test in tests.values()),
        )
    return Results(matrix, plan, cells, tuple(not_applicable(matrix)))


def _matrix(rows: Mapping[int, pd.Series[int]]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(dtype="int8")
    first = next(iter(rows.values())).index
    if all(row.index.equals(first) for row in rows.values()):
        return pd.DataFrame(np.stack([row.to_numpy() for row in rows.values()]), index=list(rows), columns=first)
    tested = pd.DataFrame(dict(rows)).T.sort_index(axis=1)
    return tested.fillna(UNTESTED).astype("int8")


def _by_cell(matrix: Matrix, plan: Plan) -> dict[CellKey, list[RunSpec]]:
    datasets = [entry.title for entry in matrix.datasets]

    def place(spec: RunSpec) -> tuple[int, int, int, int, int]:
        return (
            datasets.index(spec.dataset),
            matrix.models.index(spec.model),
            matrix.input_modes.index(spec.input_mode),
            matrix.policies.index(spec.policy),
            spec.seed,
        )

    grouped: dict[CellKey, list[RunSpec]] = {}
    for spec in sorted((run.spec for run in plan.runs), key=place):
        grouped.setdefault(spec.cell, []).append(spec)
    return grouped


@dataclass(frozen=True)
class _TestSplit:
    """A dataset's test images as the first of its runs lists them."""

    listed: pd.Series[str]
    """Image ids in the order of that run's predictions."""
    order: np.ndarray
    """Positions that sort them."""
    images: pd.Index[str]
    """Image ids, ascending."""
    labels: np.ndarray
    """By image, ascending ids."""


@dataclass(frozen=True)
class _Test:
    """What one run's predictions give."""

    correct: pd.Series[int]
    """1 or 0 by image id, ids ascending."""
    confusion: np.ndarray
    calibration_error: float


def _checked(record: RunRecord, store: Store, splits: dict[str, _TestSplit]) -> _Test:
    """Return a run's test results, checked; ``splits`` collects each dataset's test split as first seen."""
    frame = store.predictions(record)
    path = store.path(record.id)
    assert record.predictions is not None and record.test is not None and record.dataset is not None, record.id
    classes = len(record.dataset.classes)
    if len(frame) != record.predictions.rows or len(frame) != record.dataset.test_images or frame.empty:
        raise UserError(
            f"{path}: {len(frame)} predictions for {record.dataset.test_images} test images. Run it again with --force."
        )
    split = splits.get(_images(record))
    if split is None or not split.listed.equals(frame["image_id"]):
        own = _test_split(frame, path)
        split = splits.setdefault(_images(record), own)
        order = own.order
        same = own.images.equals(split.images)
    else:
        order, same = split.order, True
    label, predicted = frame["label"].to_numpy()[order], frame["predicted"].to_numpy()[order]
    for name, values in (("label", label), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= classes:
            raise UserError(f"{path}: a {name} lies outside the {classes} classes. Run it again with --force.")
    if not same or not np.array_equal(label, split.labels):
        raise UserError(
            f"{path}: its test images or labels differ from those of the other runs on {record.spec.dataset}. "
            "Run it again with --force."
        )
    correct = (predicted == label).astype(np.int8)
    counted = int(correct.sum(dtype=np.int64)) / len(correct)
    if abs(counted - record.test.accuracy) > SAME_ACCURACY:
        raise UserError(
            f"{path}: says test accuracy {record.test.accuracy:.6f}, its predictions count to {counted:.6f}. "
            "Run it again with --force."
        )
    probabilities = frame[[f"p{k}" for k in range(classes)]].to_numpy()[order]
    return _Test(
        pd.Series(correct, index=split.images),
        confusion(label, predicted, classes),
        calibration_error(probabilities, correct),
    )


def _test_split(frame: pd.DataFrame, path: Path) -> _TestSplit:
    listed = frame["image_id"]
    if not listed.is_unique:
        twice = sorted(listed[listed.duplicated()])[0]
        raise UserError(f"{path}: image {twice!r} is predicted twice. Run it again with --force.")
    order = listed.argsort().to_numpy()
    return _TestSplit(listed, order, pd.Index(listed.iloc[order]), frame["label"].to_numpy()[order])


def _images(record: RunRecord) -> str:
    """Return a key that runs share which were tested on the same images."""
    folds = record.dataset.folds if record.dataset else None
    fold = None if folds is None else record.spec.seed % folds
    return json.dumps([record.spec.dataset, record.spec.source.model_dump(mode="json"), fold], sort_keys=True)
