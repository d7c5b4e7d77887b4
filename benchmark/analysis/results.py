"""The done runs of a plan, checked and grouped by cell."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Literal, TypeAlias

import numpy as np

from benchmark.analysis.predictions import Tested, TestImages, checked
from benchmark.analysis.uncertainty.bootstrap import mean_scores
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.folds import UNTESTED
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, telling_images
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.input_modes import INPUT_MODES, Triple, group_identical_modes
from benchmark.matrix.matrix import Matrix, NotApplicable, list_not_applicable
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import groups_file
from benchmark.records.plan import STATES, Plan, State
from benchmark.records.record import DoneRun
from benchmark.records.store import Store

CellKey: TypeAlias = tuple[str, str, str, str]
"""(dataset, input mode, policy, model), as `RunSpec.cell`."""


TimeField = Literal["train_seconds", "train_images_per_second", "eval_images_per_second"]
"""Field of `benchmark.records.record.Timing`."""


@dataclass(frozen=True)
class MeanTime:
    """A mean over a cell's runs.

    Attributes:
        value: seconds, or images per second.
        bound: whether every run was contended, so that the seconds are at most these, the images per second at least.
    """

    value: float
    bound: bool


@dataclass(frozen=True)
class Cell:
    """The runs of one cell.

    Attributes:
        key: (dataset, input mode, policy, model).
        asked: the matrix's seeds.
        records: done records by seed, seeds ascending.
        tests: what their predictions give, by seed, in the same order.
    """

    key: CellKey
    asked: tuple[int, ...]
    records: Mapping[int, DoneRun]
    tests: Mapping[int, Tested] = field(repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds whose run is done, ascending."""
        return tuple(self.records)

    @property
    def folds(self) -> int | None:
        """Folds of the cross-validation that the seeds stand for; None where all were tested on the same images."""
        return next((record.dataset.folds for record in self.records.values()), None)

    @cached_property
    def images(self) -> np.ndarray:
        """Ids of the images that any done seed was tested on, ascending."""
        distinct = {id(test.images): test.images.ids for test in self.tests.values()}
        ids = list(distinct.values())
        return ids[0] if len(ids) == 1 else np.unique(np.concatenate(ids)) if ids else np.zeros(0, dtype=object)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """int64, shape (images,), equal for test images of one group; None: nothing is known of groups."""
        codes: dict[str, int] = {}
        for test in {id(test.images): test.images for test in self.tests.values()}.values():
            if test.groups is None:
                return None
            codes.update(zip(test.ids.tolist(), test.groups.tolist(), strict=True))
        return np.array([codes[name] for name in self.images.tolist()], dtype=np.int64)

    @cached_property
    def correct(self) -> np.ndarray:
        """int8, shape (seeds, images): 1 right, 0 wrong, `UNTESTED` where the seed's fold does not hold the image."""
        rows = np.full((len(self.tests), len(self.images)), UNTESTED, dtype=np.int8)
        for row, test in zip(rows, self.tests.values(), strict=True):
            own = test.images.ids
            row[slice(None) if own is self.images else np.searchsorted(self.images, own)] = test.correct
        return rows

    @cached_property
    def accuracy(self) -> Interval | None:
        """Test accuracy of the chosen checkpoint, 0..1, with its interval; None where no run is done."""
        return mean_accuracy(self.correct, self.folds, self.groups) if self.records else None

    def mean(self, field: str) -> float | None:
        """Return the mean over the done runs of a record's field, or None if no run is done or one lacks it.

        Args:
            field: dotted, e.g. ``validation.accuracy``; of times see `mean_time`.
        """
        values = [attrgetter(field)(record) for record in self.records.values()]
        return None if not values or None in values else math.fsum(values) / len(values)

    def mean_time(self, field: TimeField) -> MeanTime | None:
        """Return the mean of a time over the done runs that were not contended, or over all if each was.

        Runs whose waiting could not be measured count as undisturbed. None if no run is done.
        """
        timings = [record.timing for record in self.records.values()]
        quiet = [timing for timing in timings if timing.contended is not True]
        values = [float(getattr(timing, field)) for timing in quiet or timings]
        return MeanTime(math.fsum(values) / len(values), bound=not quiet) if values else None

    @cached_property
    def confusion(self) -> np.ndarray:
        """Images by true class (row) and predicted class (column), summed over the done seeds; (0, 0) if none."""
        counts = [test.confusion for test in self.tests.values()]
        return np.sum(counts, axis=0) if counts else np.zeros((0, 0), dtype=np.int64)

    @cached_property
    def scores(self) -> Mapping[str, Interval]:
        """Macro F1, log loss and calibration error of the chosen checkpoint, by `SCORES`; empty without a done run."""
        if not self.tests:
            return {}
        own = [test.quality for test in self.tests.values()]
        return mean_scores(own, len(self.images), self.folds, telling_images(self.correct), as_groups(self.groups))


@dataclass(frozen=True)
class Results:
    """The results of a matrix, loaded once: all that tables, figures and reports are made from.

    Attributes:
        matrix: the matrix.
        plan: every run of it with its state.
        store: the records, with their predictions and exhibits.
        by_key: the cells in the matrix's order (dataset, model, input mode, policy), those without a done run included.
        not_applicable: combinations that have no runs, with the reason.
        repeated: cells left out of ``by_key``, each with the one that it repeats by construction.
    """

    matrix: Matrix
    plan: Plan
    store: Store
    by_key: Mapping[CellKey, Cell]
    not_applicable: tuple[NotApplicable, ...]
    repeated: Mapping[CellKey, CellKey] = field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Titles of the datasets, in the matrix's order."""
        return tuple(entry.title for entry in self.matrix.datasets)

    @property
    def controls(self) -> frozenset[str]:
        """Titles of the generated datasets: they test the benchmark and are no evidence about real images."""
        generated = {name for name, info in CATALOGUE.items() if info.source == "generated"}
        return frozenset(entry.title for entry in self.matrix.datasets if entry.name in generated)

    @property
    def several_models(self) -> bool:
        """Whether tables need a column for the model."""
        return len(self.matrix.models) > 1

    @cached_property
    def states(self) -> Mapping[CellKey, Mapping[State, int]]:
        """Number of runs in each state that any is in, by cell, in the order of `STATES`."""
        counted: dict[CellKey, Counter[State]] = {}
        for run in self.plan.runs:
            counted.setdefault(run.spec.cell, Counter())[run.state] += 1
        return {key: {state: own[state] for state in STATES if own[state]} for key, own in counted.items()}

    def modes(self, dataset: str) -> tuple[str, ...]:
        """Return the input modes that a dataset can be shown in, in the matrix's order."""
        everything = self.matrix.policies
        left_out = {i.input_mode for i in self.not_applicable if i.dataset == dataset and i.policies == everything}
        return tuple(mode for mode in self.matrix.input_modes if mode not in left_out)

    def test_groups(self, dataset: str) -> int | None:
        """Return the number of groups of a dataset's test images, those of one image included; None: not known."""
        known = [cell.groups for key, cell in self.by_key.items() if key[0] == dataset and cell.records]
        return max((len(np.unique(groups)) for groups in known if groups is not None), default=None)

    def best(self, dataset: str) -> tuple[CellKey, ...]:
        """Return the keys of the dataset's highest mean accuracy, several at a tie, none without a done run."""
        means = {key: cell.accuracy.mean for key, cell in self.by_key.items() if key[0] == dataset and cell.accuracy}
        return tuple(key for key, mean in means.items() if mean == max(means.values()))


def load(matrix: Matrix, plan: Plan, store: Store) -> Results:
    """Read the predictions of a plan's done runs, and the groups of their images, and check them.

    Raises:
        UserError: predictions are damaged, or do not agree with their record or with the dataset's other runs; the file
            is named. A wrong number is worse than no report. (A damaged record is no done run: the ledger names it.)
    """
    groups = {title: _codes(of_image) for title, of_image in groups_file.read(store.folder).items()}
    done = {record.id: record for record in plan.done}
    images: dict[str, TestImages] = {}
    cells: dict[CellKey, Cell] = {}
    grouped = _by_cell(matrix, plan)
    repeated = _repeated(grouped, done.values())
    for key, specs in grouped.items():
        if key in repeated:
            continue
        records = {spec.seed: done[spec.id] for spec in specs if spec.id in done}
        tests = {seed: checked(record, store, images, groups.get(key[0])) for seed, record in records.items()}
        cells[key] = Cell(key=key, asked=tuple(spec.seed for spec in specs), records=records, tests=tests)
    return Results(matrix, plan, store, cells, tuple(list_not_applicable(matrix)), repeated)


def _codes(of_image: Mapping[str, str]) -> Mapping[str, int]:
    """Return image id -> number of its group, groups in ascending order of their names."""
    numbers = {name: number for number, name in enumerate(sorted(set(of_image.values())))}
    return {image: numbers[name] for image, name in of_image.items()}


def _by_cell(matrix: Matrix, plan: Plan) -> dict[CellKey, list[RunSpec]]:
    """Return the runs of each cell by seed, cells in the order of `Results.by_key`."""
    found: dict[CellKey, list[RunSpec]] = {}
    for run in plan.runs:
        found.setdefault(run.spec.cell, []).append(run.spec)
    titles = [entry.title for entry in matrix.datasets]
    order = itertools.product(titles, matrix.models, matrix.input_modes, matrix.policies)
    keys = [(dataset, mode, policy, model) for dataset, model, mode, policy in order]
    return {key: sorted(found[key], key=attrgetter("seed")) for key in keys if key in found}


def _repeated(cells: Mapping[CellKey, Sequence[RunSpec]], records: Iterable[DoneRun]) -> dict[CellKey, CellKey]:
    """Return, for each cell that repeats another one, the first cell that it repeats.

    Which do hangs on the mean and std of the model's weights
    (`benchmark.matrix.input_modes.group_identical_modes`): they are read from the model's records, so nothing is
    known to be identical before any run is done.

    Args:
        cells: the runs of each cell, in the matrix's order.
        records: done records.
    """
    normalisation: dict[str, tuple[Triple, Triple]] = {}
    for record in records:
        if (triples := _triples(record)) is not None:
            normalisation.setdefault(record.spec.model, triples)
    repeated: dict[CellKey, CellKey] = {}
    alike: dict[tuple[str, str, str], list[CellKey]] = {}
    for dataset, mode, policy, model in cells:
        alike.setdefault((dataset, policy, model), []).append((dataset, mode, policy, model))
    for (dataset, policy, model), keys in alike.items():
        if model not in normalisation:
            continue
        trained = any(stage.trainable == "all" for stage in cells[keys[0]][0].stages)
        modes = [key[1] for key in keys]
        for group in group_identical_modes(modes, *normalisation[model], stem_is_trained=trained):
            first, *others = ((dataset, mode, policy, model) for mode in group)
            repeated.update((other, first) for other in others)
    return repeated


def _triples(record: DoneRun) -> tuple[Triple, Triple] | None:
    """Return the three means and stds of the pretrained weights, or None if the record does not hold them."""
    model, mode = record.model, INPUT_MODES[record.spec.input_mode]
    if model.pretrained_mean is not None and model.pretrained_std is not None:
        return model.pretrained_mean, model.pretrained_std
    if mode.channels == len(model.mean) == 3 and not mode.shared:
        return model.mean, model.std
    return None
