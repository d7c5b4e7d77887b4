"""Paired differences between cells, and between a cell and a floor row: the same seeds, the same test images.

They are aligned by name and never by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.floor_side import FloorSide, side_of
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.scores import SCORES, Quality
from benchmark.analysis.uncertainty.bootstrap import mean_scores
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.design import UNTESTED, Design
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, equivalence_p_value, p_value
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.analysis.uncertainty.runs import Runs, combine
from benchmark.matrix.run_spec import CellKey
from benchmark.records.floor import FloorStore, Method


@dataclass(frozen=True)
class Difference:
    """A measured contrast.

    Attributes:
        contrast: the comparison.
        interval: first - second, in shares of correct images (-1..1), or None if no seed is done on all sides.
        seeds: the seeds of the pairs, ascending; for a mean over datasets, those of the dataset with the fewest.
        asked: number of seeds in the matrix.
        margin: the matrix's margin of equivalence, in shares.
        level: the probability of error at which it is judged, its part of a report's `SIGNIFICANCE` (`judge_in_order`),
            or None if it is not judged.
        equivalence_level: the same of equivalence, where it is another one (`benchmark.analysis.looks`).
        pooled: for a mean over datasets, the differences that it is the mean of.
    """

    contrast: Contrast
    interval: Interval | None
    seeds: tuple[int, ...]
    asked: int
    margin: float
    level: float | None = None
    equivalence_level: float | None = None
    pooled: tuple[Difference, ...] = ()

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """1 if first is shown to be better, -1 if second is, else 0."""
        p = self.adjusted_p
        if self.interval is None or p is None or p >= SIGNIFICANCE:
            return 0
        return 1 if self.interval.mean > 0 else -1

    @property
    def is_equivalent(self) -> bool:
        """Whether the difference is shown to be smaller than the margin, whichever its sign."""
        if self.interval is None:
            return False
        p = _adjust(equivalence_p_value(self.interval, self.margin), self.equivalence_level or self.level)
        return p is not None and p < SIGNIFICANCE

    @property
    def has_verdict(self) -> bool:
        """Whether a difference or equivalence is shown."""
        return bool(self.sign) or self.is_equivalent

    @property
    def adjusted_p(self) -> float | None:
        """The p-value of no difference, to be compared with `SIGNIFICANCE`; None if the row is not judged."""
        return None if self.interval is None else _adjust(p_value(self.interval), self.level)


def _adjust(p: float | None, level: float | None) -> float | None:
    return None if p is None or level is None else min(1.0, p * SIGNIFICANCE / level)


class Paired(NamedTuple):
    """Differences of pairs of cells on what all of them share.

    Attributes:
        values: integers, shape (seeds, images): sum over pairs of first - second, `UNTESTED` where a seed's fold does
            not contain the image.
        seeds: the seeds that are done in every cell, ascending.
        design: design of the test.
        runs: variance of one run's mean of values over the number of pairs, or None if it is unknown.
    """

    values: np.ndarray
    seeds: tuple[int, ...]
    design: Design
    runs: Runs | None

    def interval(self, pairs: int = 1) -> Interval | None:
        """Return the mean difference of some number of pairs, or None without a common seed."""
        return mean_difference(self.values, self.design, self.runs, pairs) if self.values.size else None


Side = Cell | FloorSide


def pair_values(pairs: Sequence[tuple[Cell, Side]]) -> Paired:
    """Return the summed differences of pairs of (first, second) sides of one dataset.

    Images are those that every side has, in ascending order of their ids.
    """
    cells: list[Side] = [cell for pair in pairs for cell in pair]
    tested = pairs[0][0]
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells)))
    if not seeds:
        return Paired(np.zeros((0, 0), dtype=np.int64), (), Design(), None)
    images = cells[0].images
    for cell in cells:
        if not np.array_equal(cell.images, images):
            images = np.intersect1d(images, cell.images)

    def align(cell: Side) -> np.ndarray:
        rows = cell.correct[[cell.seeds.index(seed) for seed in seeds]]
        same = np.array_equal(cell.images, images)
        return (rows if same else rows[:, np.searchsorted(cell.images, images)]).astype(np.int64)

    total = np.zeros((len(seeds), len(images)), dtype=np.int64)
    untested = np.zeros(total.shape, dtype=bool)
    for first, second in pairs:
        a, b = align(first), align(second)
        total += a - b
        untested |= (a == UNTESTED) | (b == UNTESTED)
    total[untested] = UNTESTED
    design = tested.design
    if len(images) < len(tested.images):
        design = design.of_images(np.searchsorted(tested.images, images))
    return Paired(total, tuple(seeds), design, _runs(pairs))


def _runs(pairs: Sequence[tuple[Cell, Side]]) -> Runs | None:
    """Return the variance of one run's mean difference; runs of different cells are independent.

    A floor row has no part in it: it is not trained from a seed.
    """
    coefficients: dict[CellKey, float] = {}
    runs: dict[CellKey, Runs] = {}
    for pair in pairs:
        for cell, coefficient in zip(pair, (1 / len(pairs), -1 / len(pairs)), strict=True):
            if isinstance(cell, FloorSide):
                continue
            if cell.runs is None:
                return None
            coefficients[cell.key] = coefficients.get(cell.key, 0.0) + coefficient
            runs[cell.key] = cell.runs
    return combine((coefficients[key], own) for key, own in runs.items())


def measure(contrast: Contrast, results: Results) -> Difference:
    """Measure a contrast on its cells' done runs, without judging it.

    Raises:
        UserError: a floor row was tested on other images, or with other labels, than a cell; its file is named.
    """
    pairs = sides(contrast, results)
    paired = pair_values(pairs)
    margin = results.matrix.equivalence_margin / 100
    return Difference(contrast, paired.interval(len(pairs)), paired.seeds, len(results.matrix.seeds), margin)


def measure_scores(contrast: Contrast, results: Results) -> Mapping[str, Interval]:
    """Measure a contrast in each of `SCORES`, on the same resamples of all seeds; empty without a common seed.

    These scores are not means over images, so their intervals are those of the crossed bootstrap.
    """
    pairs = _cells(contrast, results)
    values, seeds, design, _ = pair_values(pairs)
    if not seeds:
        return {}
    own = []
    for seed in seeds:
        both = [(first.tests[seed].quality, second.tests[seed].quality) for first, second in pairs]
        scores = (sum(a.scores[k] - b.scores[k] for a, b in both) / len(pairs) for k in range(len(SCORES)))
        resampled = np.sum([a.resampled - b.resampled for a, b in both], axis=0) / len(pairs)
        own.append(Quality(tuple(scores), resampled))
    informative = int(np.count_nonzero(((values != 0) & (values != UNTESTED)).any(axis=0)))
    return mean_scores(own, values.shape[1], design.folds, informative, as_groups(design.groups))


def measure_headlines(found: Sequence[Difference], results: Results) -> Mapping[Contrast, Mapping[str, Interval]]:
    """Measure the headlines of a matrix's datasets in each of `SCORES`, see `measure_scores`."""
    own = (d.contrast for d in found if d.contrast.headline and d.contrast.dataset in results.datasets)
    return {contrast: measure_scores(contrast, results) for contrast in own}


def sides(contrast: Contrast, results: Results) -> list[tuple[Cell, Side]]:
    """Return the pairs of a contrast with their test results."""

    def second(first: Cell, name: CellKey | Method) -> Side:
        if isinstance(name, CellKey):
            return results.by_key[name]
        floor = next(each for each in results.floor if (each.dataset, each.method) == (first.key.dataset, name))
        return side_of(floor, first, FloorStore(results.store.folder))

    cells = [(results.by_key[first], name) for first, name in contrast.pairs]
    return [(cell, second(cell, name)) for cell, name in cells]


def _cells(contrast: Contrast, results: Results) -> list[tuple[Cell, Cell]]:
    """Return the pairs of cells, without those of a cell and a floor row."""
    keys = ((first, second) for first, second in contrast.pairs if isinstance(second, CellKey))
    return [(results.by_key[first], results.by_key[second]) for first, second in keys]
