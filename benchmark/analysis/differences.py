"""Paired differences between cells: the same seeds, the same test images, aligned by name and never by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.results import Cell, CellKey, Results
from benchmark.analysis.uncertainty.folds import UNTESTED
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, equivalent, holm, p_value, pooled
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.words import listed

Question = Literal["colour", "channels", "pretraining", "stages"]
Family = Literal[Question, "policies"]
"""A question, or what published claims say of policies."""

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
    """What is subtracted from what.

    Attributes:
        family: the question it belongs to.
        dataset: title of the dataset.
        model: name of the model.
        first: what a positive difference speaks for.
        second: what is subtracted.
        context: what both sides share, in words.
        pairs: pairs of cells; several: the mean of their differences.
        headline: the one of its family, dataset and model that answers the question.
    """

    family: Family
    dataset: str
    model: str
    first: str
    second: str
    context: str = ""
    pairs: tuple[tuple[CellKey, CellKey], ...] = ()
    headline: bool = False


@dataclass(frozen=True)
class Difference:
    """A contrast as measured.

    Attributes:
        contrast: what was compared.
        interval: first - second, in shares of correct images (-1..1); None where no seed is done on all sides.
        seeds: the seeds of the pairs, ascending; of a mean over datasets those of the dataset with the fewest.
        asked: seeds that the matrix asks for.
        adjusted_p: Holm's p-value: of a headline among the headlines of its family, of any other among all of its
            family; None where the interval carries no verdict.
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
        """1 where first is better, -1 where second is, 0 where that is not shown after Holm's correction."""
        if self.interval is None or self.adjusted_p is None or self.adjusted_p >= SIGNIFICANCE:
            return 0
        return self.interval.sign

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to be smaller than the margin, whichever its sign."""
        return self.interval is not None and equivalent(self.interval, self.margin)


def differences(results: Results) -> list[Difference]:
    """Return every paired difference that the matrix holds, by family, dataset and model; means over datasets last."""
    measured = [measure(contrast, results) for contrast in contrasts(results)]
    found: list[Difference] = []
    for family in _MAKERS:
        own = [difference for difference in measured if difference.contrast.family == family]
        found += adjusted(own + _over_datasets(own, results))
    return found


def _over_datasets(own: Sequence[Difference], results: Results) -> list[Difference]:
    """Return the mean over datasets of each headline that all of them have; generated controls are left out.

    None where one dataset stands in the matrix several times: its test images would count more than once.
    """
    names = [entry.name for entry in results.matrix.datasets]
    if len(set(names)) < len(names):
        return []
    groups: dict[tuple[str, str, str, str], list[Difference]] = {}
    for difference in own:
        contrast = difference.contrast
        if contrast.headline and contrast.dataset not in results.controls:
            key = (contrast.model, contrast.first, contrast.second, contrast.context)
            groups.setdefault(key, []).append(difference)
    pooled_ones = []
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
        pooled_ones.append(Difference(contrast, pooled(intervals), fewest, group[0].asked, group[0].margin))
    return pooled_ones


def adjusted(own: Sequence[Difference]) -> list[Difference]:
    """Return a family's differences with Holm's p-values."""
    p_values = [None if d.interval is None else p_value(d.interval) for d in own]

    def among(members: Sequence[int]) -> dict[int, float]:
        tested = [(i, p) for i in members if (p := p_values[i]) is not None]
        return dict(zip((i for i, _ in tested), holm([p for _, p in tested]), strict=True))

    every = among(range(len(own)))
    headlines = among([i for i, difference in enumerate(own) if difference.contrast.headline])
    return [replace(difference, adjusted_p=headlines.get(i, every.get(i))) for i, difference in enumerate(own)]


def contrasts(results: Results) -> list[Contrast]:
    """Return the comparisons that a matrix makes possible, done or not, in the report's order."""
    places = [(dataset, model) for dataset in results.datasets for model in results.matrix.models]
    return [contrast for make in _MAKERS.values() for place in places for contrast in make(*place, results)]


class Paired(NamedTuple):
    """Differences of pairs of cells on what all of them share.

    Attributes:
        values: integers, shape (seeds, images): sum over pairs of first - second, `UNTESTED` where a seed's fold does
            not hold the image.
        seeds: done in every cell, ascending.
        groups: int64, shape (images,), equal for images of one group; None: nothing is known of groups.
    """

    values: np.ndarray
    seeds: tuple[int, ...]
    groups: np.ndarray | None


def paired_values(pairs: Sequence[tuple[Cell, Cell]]) -> Paired:
    """Return the summed differences of pairs of (first, second) cells of one dataset.

    Images are those present in every cell, in ascending order of their names.
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
    """Return a contrast as its cells' done runs give it, without a p-value."""
    pairs = [(results.by_key[first], results.by_key[second]) for first, second in contrast.pairs]
    values, seeds, groups = paired_values(pairs)
    interval = mean_difference(values, pairs[0][0].folds, len(pairs), groups) if values.size else None
    margin = results.matrix.equivalence_margin / 100
    return Difference(contrast, interval, seeds, asked=len(results.matrix.seeds), margin=margin)


def _contrasts(
    base: Contrast,
    places: Mapping[str, tuple[CellKey, CellKey]],
    headline: Sequence[str],
    averaged: Sequence[Sequence[str]],
) -> Iterator[Contrast]:
    """Yield a contrast per place, and the means over several places.

    Args:
        base: what is compared, without context and pairs.
        places: place -> its pair of cells.
        headline: the places of which the mean, or the only one, answers the question.
        averaged: the groups of places to average, those of one place left out.
    """
    for place, pair in places.items():
        yield replace(base, context=place, pairs=(pair,), headline=[place] == headline)
    for used in averaged:
        if len(used) > 1:
            pairs = tuple(places[place] for place in used)
            yield replace(base, context=f"mean of {listed(used)}", pairs=pairs, headline=used == headline)


def _modes_compared(
    family: Family, first: str, second: str, dataset: str, model: str, results: Results
) -> Iterator[Contrast]:
    """Yield first - second with each policy that both modes have, and in the mean of the pretrained policies."""
    if not {first, second} <= set(results.modes(dataset)):
        return
    every = {p: ((dataset, first, p, model), (dataset, second, p, model)) for p in results.matrix.policies}
    places = {policy: pair for policy, pair in every.items() if set(pair) <= set(results.by_key)}
    pretrained = [policy for policy in places if results.matrix.policy(policy).pretrained]
    yield from _contrasts(Contrast(family, dataset, model, first, second), places, pretrained, [pretrained])


def policies_compared(
    family: Family, first: str, second: str, dataset: str, model: str, results: Results
) -> Iterator[Contrast]:
    """Yield first - second in each input mode of a dataset that both have, and in the mean of its grey modes."""
    every = {m: ((dataset, m, first, model), (dataset, m, second, model)) for m in results.modes(dataset)}
    places = {mode: pair for mode, pair in every.items() if set(pair) <= set(results.by_key)}
    modes, grey = list(places), [mode for mode in places if INPUT_MODES[mode].grey]
    headline = modes if len(modes) == 1 else grey
    averaged = [grey] if grey == modes else [grey, modes]
    yield from _contrasts(Contrast(family, dataset, model, first, second), places, headline, averaged)


def _pretraining(dataset: str, model: str, results: Results) -> Iterator[Contrast]:
    policies = {name: results.matrix.policy(name) for name in results.matrix.policies}
    for second in (name for name, policy in policies.items() if not policy.pretrained):
        for first in (name for name, policy in policies.items() if policy.pretrained):
            yield from policies_compared("pretraining", first, second, dataset, model, results)


def _stages(dataset: str, model: str, results: Results) -> Iterator[Contrast]:
    if {"finetune", "finetune-whole"} <= set(results.matrix.policies):
        yield from policies_compared("stages", "finetune", "finetune-whole", dataset, model, results)


_MAKERS: dict[Question, Callable[[str, str, Results], Iterator[Contrast]]] = {
    "pretraining": _pretraining,
    "channels": partial(_modes_compared, "channels", "grey-3ch", "grey-1ch"),
    "colour": partial(_modes_compared, "colour", "rgb", "grey-3ch"),
    "stages": _stages,
}
