"""Paired differences between cells: the same seeds, the same test images, aligned by name and never by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.results import Cell, Results
from benchmark.analysis.scores import SCORES, Quality
from benchmark.analysis.uncertainty.bootstrap import mean_scores
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.folds import UNTESTED
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, holm, is_equivalent, p_value, pool
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import CellKey, Setup
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
        pairs: pairs of cells; of several, the mean of their differences is taken.
        headline: whether it answers the question for its dataset and setup.
    """

    family: Family
    dataset: str
    setup: Setup
    first: str
    second: str
    context: str = ""
    pairs: tuple[tuple[CellKey, CellKey], ...] = ()
    headline: bool = False


@dataclass(frozen=True)
class Difference:
    """A measured contrast.

    Attributes:
        contrast: the comparison.
        interval: first - second, in shares of correct images (-1..1), or None if no seed is done on all sides.
        seeds: the seeds of the pairs, ascending; of a mean over datasets those of the dataset with the fewest.
        asked: seeds that the matrix asks for.
        adjusted_p: Holm's p-value: of a headline among the headlines of its family, of any other among all of its
            family; None if the interval carries no verdict.
        margin: the matrix's margin of equivalence, in shares.
    """

    contrast: Contrast
    interval: Interval | None
    seeds: tuple[int, ...]
    asked: int
    margin: float
    adjusted_p: float | None = None

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """1 if first is better, -1 if second is, 0 if neither is shown after Holm's correction."""
        if self.interval is None or self.adjusted_p is None or self.adjusted_p >= SIGNIFICANCE:
            return 0
        return self.interval.sign

    @property
    def is_equivalent(self) -> bool:
        """Whether the difference is shown to be smaller than the margin, whichever its sign."""
        return self.interval is not None and is_equivalent(self.interval, self.margin)


def differences(results: Results) -> list[Difference]:
    """Return every paired difference of the matrix, by family, dataset and setup; means over datasets last."""
    measured = [measure(contrast, results) for contrast in contrasts(results)]
    found: list[Difference] = []
    for family in _MAKERS:
        own = [difference for difference in measured if difference.contrast.family == family]
        found += adjust(own + _over_datasets(own, results))
    return found


def _over_datasets(own: Sequence[Difference], results: Results) -> list[Difference]:
    """Return the mean over datasets of each headline, if at least two have it; generated controls are left out.

    Empty if the matrix has one dataset several times: its test images would count more than once.
    """
    names = [entry.name for entry in results.matrix.datasets]
    if len(set(names)) < len(names):
        return []
    groups: dict[tuple[Setup, str, str, str], list[Difference]] = {}
    for difference in own:
        contrast = difference.contrast
        if contrast.headline and contrast.dataset not in results.controls:
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
        means.append(Difference(contrast, pool(intervals), fewest, group[0].asked, group[0].margin))
    return means


def adjust(own: Sequence[Difference]) -> list[Difference]:
    """Return a family's differences with Holm's p-values."""
    p_values = [None if d.interval is None else p_value(d.interval) for d in own]

    def among(members: Sequence[int]) -> dict[int, float]:
        tested = [(i, p) for i in members if (p := p_values[i]) is not None]
        return dict(zip((i for i, _ in tested), holm([p for _, p in tested]), strict=True))

    every = among(range(len(own)))
    headlines = among([i for i, difference in enumerate(own) if difference.contrast.headline])
    return [replace(difference, adjusted_p=headlines.get(i, every.get(i))) for i, difference in enumerate(own)]


def contrasts(results: Results) -> list[Contrast]:
    """Return the comparisons that a matrix allows, done or not, in the report's order."""
    places = [(dataset, setup) for dataset in results.datasets for setup in results.matrix.setups]
    return [contrast for make in _MAKERS.values() for place in places for contrast in make(*place, results)]


class Paired(NamedTuple):
    """Differences of pairs of cells on what all of them share.

    Attributes:
        values: integers, shape (seeds, images): sum over pairs of first - second, `UNTESTED` where a seed's fold does
            not contain the image.
        seeds: those done in every cell, ascending.
        groups: int64, shape (images,), equal for images of one group, or None if groups are unknown.
    """

    values: np.ndarray
    seeds: tuple[int, ...]
    groups: np.ndarray | None


def pair_values(pairs: Sequence[tuple[Cell, Cell]]) -> Paired:
    """Return the summed differences of pairs of (first, second) cells of one dataset.

    Images are those that every cell has, in ascending order of their ids.
    """
    cells = [cell for pair in pairs for cell in pair]
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells)))
    if not seeds:
        return Paired(np.zeros((0, 0), dtype=np.int64), (), None)
    images = cells[0].images
    for cell in cells:
        if not np.array_equal(cell.images, images):
            images = np.intersect1d(images, cell.images)

    def aligned(cell: Cell) -> np.ndarray:
        rows = cell.correct[[cell.seeds.index(seed) for seed in seeds]]
        same = np.array_equal(cell.images, images)
        return (rows if same else rows[:, np.searchsorted(cell.images, images)]).astype(np.int64)

    total = np.zeros((len(seeds), len(images)), dtype=np.int64)
    untested = np.zeros(total.shape, dtype=bool)
    for first, second in pairs:
        a, b = aligned(first), aligned(second)
        total += a - b
        untested |= (a == UNTESTED) | (b == UNTESTED)
    total[untested] = UNTESTED
    groups = cells[0].groups
    if groups is not None and len(images) < len(groups):
        groups = groups[np.searchsorted(cells[0].images, images)]
    return Paired(total, tuple(seeds), groups)


def measure(contrast: Contrast, results: Results) -> Difference:
    """Measure a contrast on its cells' done runs, without a p-value."""
    pairs = _cells(contrast, results)
    values, seeds, groups = pair_values(pairs)
    interval = mean_difference(values, pairs[0][0].folds, len(pairs), groups) if values.size else None
    margin = results.matrix.equivalence_margin / 100
    return Difference(contrast, interval, seeds, asked=len(results.matrix.seeds), margin=margin)


def measure_scores(contrast: Contrast, results: Results) -> Mapping[str, Interval]:
    """Measure a contrast in each of `SCORES`, on the same resamples of all seeds; empty without a common seed.

    These scores are not means over images, so their intervals are those of the crossed bootstrap.
    """
    pairs = _cells(contrast, results)
    values, seeds, groups = pair_values(pairs)
    if not seeds:
        return {}
    own = []
    for seed in seeds:
        both = [(first.tests[seed].quality, second.tests[seed].quality) for first, second in pairs]
        scores = (sum(a.scores[k] - b.scores[k] for a, b in both) / len(pairs) for k in range(len(SCORES)))
        resampled = np.sum([a.resampled - b.resampled for a, b in both], axis=0) / len(pairs)
        own.append(Quality(tuple(scores), resampled))
    informative = int(np.count_nonzero(((values != 0) & (values != UNTESTED)).any(axis=0)))
    return mean_scores(own, values.shape[1], pairs[0][0].folds, informative, as_groups(groups))


def _cells(contrast: Contrast, results: Results) -> list[tuple[Cell, Cell]]:
    return [(results.by_key[first], results.by_key[second]) for first, second in contrast.pairs]


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
    """Yield first - second for each policy that both modes have, and for the mean of the pretrained policies."""
    if not {first, second} <= set(results.modes(dataset)):
        return
    every = {
        policy: (CellKey(dataset, first, policy, *setup), CellKey(dataset, second, policy, *setup))
        for policy in results.matrix.policies
    }
    places = {policy: pair for policy, pair in every.items() if set(pair) <= set(results.by_key)}
    pretrained = [policy for policy in places if results.matrix.policy(policy).pretrained]
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


def _stages(dataset: str, setup: Setup, results: Results) -> Iterator[Contrast]:
    if {"finetune", "finetune-whole"} <= set(results.matrix.policies):
        yield from policies_compared("stages", "finetune", "finetune-whole", dataset, setup, results)


_MAKERS: dict[Question, Callable[[str, Setup, Results], Iterator[Contrast]]] = {
    "pretraining": _pretraining,
    "channels": partial(_modes_compared, "channels", "grey-3ch", "grey-1ch"),
    "colour": partial(_modes_compared, "colour", "rgb", "grey-3ch"),
    "stages": _stages,
}
