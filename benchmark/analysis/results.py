"""The done runs of a plan, checked and grouped by cell."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Literal

import numpy as np

from benchmark.analysis.floor import Floor, by_method, check_rows
from benchmark.analysis.predictions import TestImages, TestResults, read_results
from benchmark.analysis.uncertainty.bootstrap import mean_scores
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.design import UNTESTED, Design
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import count_informative, mean_accuracy
from benchmark.analysis.uncertainty.runs import Runs, between_runs, combine, moderate
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.input_modes import INPUT_MODES, Triple, group_identical_modes
from benchmark.matrix.matrix import DatasetEntry, Matrix, NotApplicable, list_not_applicable
from benchmark.matrix.run_spec import CellKey, RunSpec, Setup
from benchmark.records import groups_file
from benchmark.records.floor import FloorStore, plan_floor
from benchmark.records.plan import STATES, Plan, State
from benchmark.records.record import DoneRun
from benchmark.records.store import Store

TimeField = Literal["train_seconds", "train_images_per_second", "eval_images_per_second"]
"""Field of `benchmark.records.record.Timing`."""


@dataclass(frozen=True)
class MeanTime:
    """A mean over a cell's runs.

    Attributes:
        value: seconds, or images per second.
        bound: whether every run was contended; the value is then an upper bound of the seconds, or a lower bound of the
            images per second.
    """

    value: float
    bound: bool


@dataclass(frozen=True)
class Cell:
    """The runs of one cell.

    Attributes:
        key: the cell's names.
        asked: seeds in the matrix.
        records: done records by seed, seeds ascending.
        tests: test results by seed, in the same order.
        runs: variance of a run's accuracy, moderated by the dataset's other cells, or None with fewer than two runs.
    """

    key: CellKey
    asked: tuple[int, ...]
    records: Mapping[int, DoneRun]
    tests: Mapping[int, TestResults] = field(repr=False)
    runs: Runs | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds whose run is done, ascending."""
        return tuple(self.records)

    @property
    def folds(self) -> int | None:
        """Folds of the cross-validation, or None if all seeds were tested on the same images."""
        return next((record.dataset.folds for record in self.records.values()), None)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in label order, empty if no run is done."""
        return next((record.dataset.classes for record in self.records.values()), ())

    @cached_property
    def images(self) -> np.ndarray:
        """Ids of the images of any done seed, ascending."""
        distinct = {id(test.images): test.images.ids for test in self.tests.values()}
        ids = list(distinct.values())
        return ids[0] if len(ids) == 1 else np.unique(np.concatenate(ids)) if ids else np.zeros(0, dtype=object)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """int64, shape (images,), equal for images of one group, or None if groups are unknown."""
        codes: dict[str, int] = {}
        for test in {id(test.images): test.images for test in self.tests.values()}.values():
            if test.groups is None:
                return None
            codes.update(zip(test.ids.tolist(), test.groups.tolist(), strict=True))
        return np.array([codes[name] for name in self.images.tolist()], dtype=np.int64)

    @cached_property
    def design(self) -> Design:
        """The folds, and each image's class and group."""
        labels: dict[str, int] = {}
        for test in {id(test.images): test.images for test in self.tests.values()}.values():
            labels.update(zip(test.ids.tolist(), test.labels.tolist(), strict=True))
        codes = np.array([labels[name] for name in self.images.tolist()], dtype=np.int64)
        return Design(self.folds, codes, self.groups)

    @cached_property
    def correct(self) -> np.ndarray:
        """int8, shape (seeds, images): 1 right, 0 wrong, `UNTESTED` where the seed's fold lacks the image."""
        rows = np.full((len(self.tests), len(self.images)), UNTESTED, dtype=np.int8)
        for row, test in zip(rows, self.tests.values(), strict=True):
            own = test.images.ids
            row[slice(None) if own is self.images else np.searchsorted(self.images, own)] = test.correct
        return rows

    @cached_property
    def accuracy(self) -> Interval | None:
        """Test accuracy of the chosen epoch, 0..1, with its interval, or None if no run is done."""
        runs = None if self.runs is None else combine([(1.0, self.runs)])
        return mean_accuracy(self.correct, self.design, runs) if self.records else None

    def mean(self, field: str) -> float | None:
        """Return the mean over the done runs of a record's field, or None if no run is done or one lacks it.

        Args:
            field: dotted, e.g. ``validation.accuracy``; for times see `mean_time`.
        """
        values = [attrgetter(field)(record) for record in self.records.values()]
        return None if not values or None in values else math.fsum(values) / len(values)

    def mean_time(self, field: TimeField | Literal["total_seconds"]) -> MeanTime | None:
        """Return the mean time of the runs that were not contended, of all if every run was, None if no run is done.

        Runs whose waiting could not be measured count as not contended.
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
        """Scores of the chosen epoch by name (`SCORES`), empty if no run is done."""
        if not self.tests:
            return {}
        own = [test.quality for test in self.tests.values()]
        return mean_scores(own, len(self.images), self.folds, count_informative(self.correct), as_groups(self.groups))


@dataclass(frozen=True)
class Results:
    """The results of a matrix, loaded once: the input of all tables, figures and reports.

    Attributes:
        matrix: the matrix.
        plan: the matrix's runs with their states.
        store: the records, with their predictions and exhibits.
        by_key: cells in the matrix's order (dataset, setup, input mode, policy), including those without a done run.
        not_applicable: combinations that have no runs, with the reason.
        repeated: cells left out of ``by_key``, each with the cell that it repeats by construction.
        repeats: the left-out cells.
        floor: floor rows by dataset and method, in the order of the runs.
    """

    matrix: Matrix
    plan: Plan
    store: Store
    by_key: Mapping[CellKey, Cell]
    not_applicable: tuple[NotApplicable, ...]
    repeated: Mapping[CellKey, CellKey] = field(default_factory=dict)
    repeats: Mapping[CellKey, Cell] = field(default_factory=dict)
    floor: tuple[Floor, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Titles of the datasets, in the matrix's order."""
        return tuple(entry.title for entry in self.matrix.datasets)

    @property
    def controls(self) -> frozenset[str]:
        """Titles of the generated datasets: they test the benchmark and say nothing about real images."""
        generated = {name for name, info in CATALOGUE.items() if info.source == "generated"}
        return frozenset(entry.title for entry in self.matrix.datasets if entry.name in generated)

    @cached_property
    def states(self) -> Mapping[CellKey, Mapping[State, int]]:
        """Number of runs per state, by cell, in the order of `STATES`; states without a run are left out."""
        counted: dict[CellKey, Counter[State]] = {}
        for run in self.plan.runs:
            counted.setdefault(run.spec.cell, Counter())[run.state] += 1
        return {key: {state: own[state] for state in STATES if own[state]} for key, own in counted.items()}

    def entry(self, dataset: str) -> DatasetEntry:
        """Return a dataset of the matrix by its title."""
        return next(entry for entry in self.matrix.datasets if entry.title == dataset)

    def done_cells(self, dataset: str | None = None, setup: Setup | None = None) -> list[Cell]:
        """Return the cells with a done run, of a dataset and a setup if given, in the order of ``by_key``."""
        done = (cell for cell in self.by_key.values() if cell.records)
        return [cell for cell in done if dataset in (None, cell.key.dataset) and setup in (None, cell.key.setup)]

    def modes(self, dataset: str) -> tuple[str, ...]:
        """Return the input modes that apply to a dataset, in the matrix's order."""
        everything = self.matrix.policies
        left_out = {i.input_mode for i in self.not_applicable if i.dataset == dataset and i.policies == everything}
        return tuple(mode for mode in self.matrix.input_modes if mode not in left_out)

    def test_groups(self, dataset: str) -> int | None:
        """Return the number of groups of a dataset's test images, or None if groups are unknown."""
        known = [cell.groups for cell in self.done_cells(dataset)]
        return max((len(np.unique(groups)) for groups in known if groups is not None), default=None)

    def best(self, dataset: str) -> tuple[CellKey, ...]:
        """Return the cells of a dataset's highest mean accuracy: several at a tie, none without a done run."""
        means = {cell.key: cell.accuracy.mean for cell in self.done_cells(dataset) if cell.accuracy}
        return tuple(key for key, mean in means.items() if mean == max(means.values()))


def load(matrix: Matrix, plan: Plan, store: Store) -> Results:
    """Read the predictions of a plan's done runs, and the groups of their images, and the floor rows; check them.

    Raises:
        UserError: predictions are damaged, or disagree with their record or the dataset's other runs; the file is
            named. A wrong number is worse than no report. (A damaged record does not count as done: the ledger has it.)
    """
    groups = {key: _codes(of_image) for key, of_image in groups_file.read(store.folder).items()}
    done = {record.id: record for record in plan.done}
    images: dict[str, TestImages] = {}
    cells: dict[CellKey, Cell] = {}
    grouped = _by_cell(matrix, plan)
    repeated = _find_repeats(grouped, done.values())
    for key, specs in grouped.items():
        records = {spec.seed: done[spec.id] for spec in specs if spec.id in done}
        tests = {seed: read_results(record, store, images, groups) for seed, record in records.items()}
        cells[key] = Cell(key=key, asked=tuple(spec.seed for spec in specs), records=records, tests=tests)
    cells = _with_moderated_runs(cells, matrix, repeated)
    floor = plan_floor([run.spec for run in plan.runs], store.folder, plan.done)
    check_rows(floor, FloorStore(store.folder))
    by_key = {key: cell for key, cell in cells.items() if key not in repeated}
    repeats = {key: cells[key] for key in repeated}
    return Results(matrix, plan, store, by_key, tuple(list_not_applicable(matrix)), repeated, repeats, by_method(floor))


def select_seeds(results: Results, seeds: Collection[int]) -> Results:
    """Return the same results with some of the seeds alone."""
    every = {**results.by_key, **results.repeats}
    cells = {
        key: replace(
            cell,
            records={seed: record for seed, record in cell.records.items() if seed in seeds},
            tests={seed: test for seed, test in cell.tests.items() if seed in seeds},
        )
        for key, cell in every.items()
    }
    cells = _with_moderated_runs(cells, results.matrix, results.repeated)
    by_key, repeats = ({key: cells[key] for key in own} for own in (results.by_key, results.repeats))
    return replace(results, by_key=by_key, repeats=repeats)


def _with_moderated_runs(
    cells: Mapping[CellKey, Cell], matrix: Matrix, repeated: Mapping[CellKey, CellKey]
) -> dict[CellKey, Cell]:
    """Return the cells with the variances of their runs, moderated by other cells of the dataset.

    Cells that train a backbone are moderated by each other, and so are cells that train only a head. A cell that
    repeats another one adds no evidence, and gets that cell's variance.
    """
    own = {
        key: runs
        for key, cell in cells.items()
        if key not in repeated and (runs := between_runs(cell.correct, cell.design)) is not None
    }
    pools: dict[tuple[str, bool], list[CellKey]] = {}
    for key in own:
        trains = any(rule.trainable != "head" for rule in matrix.policy(key.policy).stages)
        pools.setdefault((key.dataset, trains), []).append(key)
    found: dict[CellKey, Runs] = {}
    for keys in pools.values():
        of_pool = [cells[key] for key in keys]
        kinds = [int(matrix.policy(key.policy).pretrained) for key in keys]
        accuracies = [float(cell.correct[cell.correct != UNTESTED].mean()) for cell in of_pool]
        images = [float((cell.correct != UNTESTED).sum() / len(cell.correct)) for cell in of_pool]
        found |= zip(keys, moderate([own[key] for key in keys], kinds, accuracies, images), strict=True)
    return {key: replace(cell, runs=found.get(repeated.get(key, key))) for key, cell in cells.items()}


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
    order = itertools.product(titles, matrix.setups, matrix.input_modes, matrix.policies)
    keys = [CellKey(dataset, mode, policy, *setup) for dataset, setup, mode, policy in order]
    return {key: sorted(found[key], key=attrgetter("seed")) for key in keys if key in found}


def _find_repeats(cells: Mapping[CellKey, Sequence[RunSpec]], records: Iterable[DoneRun]) -> dict[CellKey, CellKey]:
    """Return, for each cell that repeats another one, the first cell that it repeats.

    That depends on the mean and std of the model's weights (`benchmark.matrix.input_modes.group_identical_modes`). They
    are read from the model's records, so no cell is known to repeat another before a run is done.

    Args:
        cells: the runs of each cell, in the matrix's order.
        records: done records.
    """
    normalisation: dict[str, tuple[Triple, Triple]] = {}
    for record in records:
        if (triples := _triples(record)) is not None:
            normalisation.setdefault(record.spec.model, triples)
    repeated: dict[CellKey, CellKey] = {}
    alike: dict[CellKey, list[CellKey]] = {}
    for key in cells:
        alike.setdefault(key._replace(input_mode=""), []).append(key)
    for keys in alike.values():
        model = keys[0].model
        if model not in normalisation:
            continue
        trained = any(stage.trainable == "all" for stage in cells[keys[0]][0].stages)
        modes = [key.input_mode for key in keys]
        for group in group_identical_modes(modes, *normalisation[model], stem_is_trained=trained):
            first, *others = (keys[0]._replace(input_mode=mode) for mode in group)
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
