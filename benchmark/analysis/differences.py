"""Paired differences between cells, and between a cell and a floor row: the same seeds, the same test images.

They are aligned by name and never by position.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.floor import best_floor
from benchmark.analysis.floor_side import FloorSide, side_of
from benchmark.analysis.results import Cell, Results, select_seeds
from benchmark.analysis.scores import SCORES, Quality
from benchmark.analysis.uncertainty.bootstrap import mean_scores
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.design import UNTESTED, Design
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, equivalence_p_value, p_value
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.analysis.uncertainty.pooling import pool
from benchmark.analysis.uncertainty.runs import Runs, combine
from benchmark.analysis.uncertainty.sequential import Look
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.matrix.run_spec import CellKey, Setup
from benchmark.records.floor import FloorStore, Method
from benchmark.words import listed

Question = Literal["colour", "channels", "pretraining", "stages"]
Family = Literal[Question, "policies"]
"""One of the questions, or the comparisons of policies that published claims need."""

QUESTIONS: dict[Family, str] = {
    "pretraining": "Pretrained weights or training from scratch?",
    "channels": "Grey on three channels or on one?",
    "colour": "What does colour add?",
    "stages": "Head first, or everything at once?",
    "policies": "Which layers to train?",
}
"""The four questions, in the order of the report, and that of published claims."""


@dataclass(frozen=True)
class Contrast:
    """A comparison: one cell minus another, or the mean of several such pairs.

    Attributes:
        family: the question it belongs to.
        dataset: title of the dataset.
        setup: the model and the image size of both sides.
        first: the side that a positive difference favours.
        second: the side that is subtracted.
        context: conditions that both sides share, in words.
        pairs: pairs of cells, or of a cell and a floor row of its dataset; the difference of several pairs is their
            mean.
        headline: whether it answers the question for its dataset and setup.
    """

    family: Family
    dataset: str
    setup: Setup
    first: str
    second: str
    context: str = ""
    pairs: tuple[tuple[CellKey, CellKey | Method], ...] = ()
    headline: bool = False

    @property
    def is_against_floor(self) -> bool:
        """Whether the second side is a floor row."""
        return any(isinstance(second, str) for _, second in self.pairs)


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


def differences(results: Results) -> list[Difference]:
    """Return every paired difference of the matrix, by family, dataset and setup; means over datasets last."""
    measured = [measure(contrast, results) for contrast in contrasts(results)]
    if isinstance(results.matrix.seeds, UntilSettled):
        levels = {each.contrast: each.level for each in headlines(results)}
        return [_judge_at_look(replace(each, level=levels.get(each.contrast)), results) for each in measured]
    families = [[d for d in measured if d.contrast.family == family] for family in _MAKERS]
    asked = [own for own in families if any(d.contrast.headline and d.interval is not None for d in own)]
    found: list[Difference] = []
    for own in families:
        found += judge_in_order([*own, *_over_datasets(own, results)], SIGNIFICANCE / max(len(asked), 1))
    return found


def headlines(results: Results) -> list[Difference]:
    """Return the headlines of each dataset, whose seeds a rule decides on, with their parts of a report's error.

    Questions share it equally, then each question's comparisons, then a comparison's datasets. There are no means over
    datasets, which would have different numbers of seeds, and nothing below a headline is judged.
    """
    asked = [each for each in contrasts(results) if each.headline and not each.is_against_floor]
    names = {contrast: (contrast.family, contrast.setup, contrast.first, contrast.second) for contrast in asked}
    datasets = Counter(names.values())
    comparisons = Counter(family for family, *_ in datasets)
    shares = {
        contrast: SIGNIFICANCE / len(comparisons) / comparisons[contrast.family] / datasets[name]
        for contrast, name in names.items()
    }
    return [replace(measure(contrast, results), level=share) for contrast, share in shares.items()]


def look_at(difference: Difference, matrix: Matrix) -> Look | None:
    """Return the look at a headline after its seeds, or None before the first look.

    Args:
        difference: with its part of the probability of error, all looks together.
        matrix: whose rule says when looks are taken.
    """
    interval, seeds = difference.interval, matrix.seeds
    if not isinstance(seeds, UntilSettled) or difference.level is None or interval is None:
        return None
    if interval.seeds < seeds.at_least or interval.per_run is None or not interval.standard_error:
        return None
    return Look(interval, difference.margin, difference.level, seeds.at_least, len(seeds))


def _judge_at_look(difference: Difference, results: Results) -> Difference:
    """Return a difference with the levels of its look, its interval adjusted if its verdict ended the seeds.

    It did if there was none at the look before. Seeds after a verdict were not taken because of it.
    """
    look = look_at(difference, results.matrix)
    if look is None:
        return replace(difference, level=None)
    interval = look.interval
    if look.has_verdict:
        before = select_seeds(results, results.matrix.seeds[: interval.seeds - 1])
        last = look_at(replace(measure(difference.contrast, before), level=difference.level), results.matrix)
        if last is None or not last.is_settled:
            interval = look.adjusted()
    of_difference, of_equivalence = look.levels
    return replace(difference, interval=interval, level=of_difference, equivalence_level=of_equivalence)


def judge_in_order(own: Sequence[Difference], level: float) -> list[Difference]:
    """Return the differences of one question with the probabilities of error at which they are judged.

    The question's comparisons, each with its setup, share its level equally. A comparison's mean over datasets is
    judged first, or the headline of its only dataset. A row keeps half of what it is given, and once it has a verdict
    hands the other half on, in equal parts, to the rows below: to the headlines of its datasets, and from each of these
    to the dataset's other rows. A row with nothing below keeps all; below a row without a verdict nothing is judged.

    Rows against a floor row are below what else their policy is compared with.

    No difference and a difference of at least the margin cannot both be true, so a row tests both at its level, and
    what all rows keep adds up to at most the level: so is the probability of a wrong verdict anywhere. (The rows below
    do not get all of it, as in Goeman and Finos 2012, "The inheritance procedure: multiple testing of tree-structured
    hypotheses": a row that is shown to be equivalent may still be wrongly said to differ.)
    """
    trees: dict[tuple[Setup, str, str], list[int]] = {}
    for k, difference in enumerate(own):
        contrast = difference.contrast
        if not contrast.is_against_floor:
            trees.setdefault((contrast.setup, contrast.first, contrast.second), []).append(k)
    for k, difference in enumerate(own):
        contrast = difference.contrast
        if contrast.is_against_floor:
            of_policy = (rows for key, rows in trees.items() if key[:2] == (contrast.setup, contrast.first))
            next(of_policy, []).append(k)
    found = list(own)

    def judge(rows: Sequence[int], level: float, below: Callable[[int], Sequence[int]]) -> None:
        """Judge rows that share a level, and the rows below each that has a verdict."""
        for k in rows:
            given = level / len(rows)
            children = below(k)
            found[k] = replace(own[k], level=given / 2 if children else given)
            if children and found[k].has_verdict:
                judge(children, given / 2, others)

    for rows in trees.values():
        headlines = [k for k in rows if own[k].contrast.headline and not own[k].pooled]
        rest = [k for k in rows if not own[k].contrast.headline]

        def others(k: int, rest: Sequence[int] = rest) -> list[int]:
            return [j for j in rest if k not in rest and own[j].contrast.dataset == own[k].contrast.dataset]

        def datasets(_: int, headlines: Sequence[int] = headlines) -> Sequence[int]:
            return headlines

        top = [k for k in rows if own[k].pooled]
        judge(top or headlines, level / len(trees), datasets if top else others)
    return found


def judge_equally(own: Sequence[Difference]) -> list[Difference]:
    """Return differences that share a report's probability of error equally."""
    return [replace(difference, level=SIGNIFICANCE / len(own)) for difference in own]


NEAR_THE_CEILING = 0.99
"""Mean accuracy at which a cell has next to nothing left to show: a dataset all of whose compared cells reach it has no
part in a mean over datasets."""


def _over_datasets(own: Sequence[Difference], results: Results) -> list[Difference]:
    """Return the mean over datasets of each headline, if at least two have it.

    Generated controls and datasets of which every compared cell reaches `NEAR_THE_CEILING` are left out. If a matrix
    has several entries of a dataset, the one with the most training images is used, so that its test images count once.
    """
    largest: dict[str, str] = {}
    for entry in sorted(results.matrix.datasets, key=lambda entry: -(entry.limit or sys.maxsize)):
        largest.setdefault(entry.name, entry.title)
    groups: dict[tuple[Setup, str, str, str], list[Difference]] = {}
    for difference in own:
        contrast = difference.contrast
        counts = contrast.headline and contrast.dataset not in results.controls and contrast.dataset in largest.values()
        if counts and not _is_near_the_ceiling(contrast, results):
            key = (contrast.setup, contrast.first, contrast.second, contrast.context)
            groups.setdefault(key, []).append(difference)
    means = []
    for group in groups.values():
        intervals = [d.interval for d in group if d.interval is not None and d.interval.df is not None]
        if len(group) < 2 or len(intervals) < len(group):
            continue
        contrast = replace(
            group[0].contrast,
            dataset=f"mean of {len(group)} datasets",
            pairs=tuple(pair for difference in group for pair in difference.contrast.pairs),
        )
        fewest = min((difference.seeds for difference in group), key=len)
        asked, margin = group[0].asked, group[0].margin
        means.append(Difference(contrast, pool(intervals), fewest, asked, margin, pooled=tuple(group)))
    return means


def _is_near_the_ceiling(contrast: Contrast, results: Results) -> bool:
    accuracies = [cell.accuracy for pair in _cells(contrast, results) for cell in pair]
    return all(accuracy is not None and accuracy.mean >= NEAR_THE_CEILING for accuracy in accuracies)


def contrasts(results: Results) -> list[Contrast]:
    """Return the comparisons that a matrix allows, done or not, in the report's order."""
    places = [(dataset, setup) for dataset in results.datasets for setup in results.matrix.setups]
    return [contrast for make in _MAKERS.values() for place in places for contrast in make(*place, results)]


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


def _contrasts(
    base: Contrast,
    places: Mapping[str, tuple[CellKey, CellKey]],
    headline: Sequence[str],
    averaged: Sequence[Sequence[str]],
) -> Iterator[Contrast]:
    """Yield a contrast per place, and the means over several places.

    Args:
        base: the contrast without context and pairs.
        places: place -> its pair of cells.
        headline: the places whose mean answers the question (or the place itself, if it is the only one).
        averaged: groups of places to average; groups of one place are left out.
    """
    for place, pair in places.items():
        yield replace(base, context=place, pairs=(pair,), headline=[place] == headline)
    for used in averaged:
        if len(used) > 1:
            pairs = tuple(places[place] for place in used)
            yield replace(base, context=f"mean of {listed(used)}", pairs=pairs, headline=used == headline)


def _modes_compared(
    family: Family, first: str, second: str, dataset: str, setup: Setup, results: Results
) -> Iterator[Contrast]:
    """Yield first - second for each policy that both modes have, and for the mean of some pretrained ones.

    These are all for colour, and those that train the stem for channels: under a frozen stem the two are one function.
    """
    if not {first, second} <= set(results.modes(dataset)):
        return
    every = {
        policy: (CellKey(dataset, first, policy, *setup), CellKey(dataset, second, policy, *setup))
        for policy in results.matrix.policies
    }
    places = {policy: pair for policy, pair in every.items() if set(pair) <= set(results.by_key)}
    own = results.matrix.policy
    pretrained = [policy for policy in places if own(policy).pretrained]
    if family == "channels":
        pretrained = [p for p in pretrained if any(rule.trainable == "all" for rule in own(p).stages)]
    yield from _contrasts(Contrast(family, dataset, setup, first, second), places, pretrained, [pretrained])


def policies_compared(
    family: Family, first: str, second: str, dataset: str, setup: Setup, results: Results
) -> Iterator[Contrast]:
    """Yield first - second for each input mode that both policies have, and for the mean of the grey modes."""
    every = {
        mode: (CellKey(dataset, mode, first, *setup), CellKey(dataset, mode, second, *setup))
        for mode in results.modes(dataset)
    }
    places = {mode: pair for mode, pair in every.items() if set(pair) <= set(results.by_key)}
    modes, grey = list(places), [mode for mode in places if INPUT_MODES[mode].grey]
    headline = modes if len(modes) == 1 else grey
    averaged = [grey] if grey == modes else [grey, modes]
    yield from _contrasts(Contrast(family, dataset, setup, first, second), places, headline, averaged)


def _pretraining(dataset: str, setup: Setup, results: Results) -> Iterator[Contrast]:
    policies = {name: results.matrix.policy(name) for name in results.matrix.policies}
    for second in (name for name, policy in policies.items() if not policy.pretrained):
        for first in (name for name, policy in policies.items() if policy.pretrained):
            yield from policies_compared("pretraining", first, second, dataset, setup, results)
    yield from _against_floor(dataset, setup, results)


def _against_floor(dataset: str, setup: Setup, results: Results) -> Iterator[Contrast]:
    """Yield each pretrained policy - the dataset's best floor row, for each grey mode."""
    floor = best_floor(dataset, results.floor)
    if floor is None:
        return
    second = f"best floor row ({floor.method})"
    for first in (name for name in results.matrix.policies if results.matrix.policy(name).pretrained):
        for mode in (mode for mode in results.modes(dataset) if INPUT_MODES[mode].grey):
            if (key := CellKey(dataset, mode, first, *setup)) in results.by_key:
                yield Contrast("pretraining", dataset, setup, first, second, mode, pairs=((key, floor.method),))


def _stages(dataset: str, setup: Setup, results: Results) -> Iterator[Contrast]:
    if {"finetune", "finetune-whole"} <= set(results.matrix.policies):
        yield from policies_compared("stages", "finetune", "finetune-whole", dataset, setup, results)


_MAKERS: dict[Question, Callable[[str, Setup, Results], Iterator[Contrast]]] = {
    "pretraining": _pretraining,
    "channels": partial(_modes_compared, "channels", "grey-3ch", "grey-1ch"),
    "colour": partial(_modes_compared, "colour", "rgb", "grey-3ch"),
    "stages": _stages,
}
