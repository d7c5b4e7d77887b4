"""The comparisons that a matrix allows between its cells, and between a cell and a floor row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from benchmark.analysis.floor import best_floor
from benchmark.analysis.results import Results
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import CellKey, Setup
from benchmark.records.floor import Method
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


def contrasts(results: Results) -> list[Contrast]:
    """Return the comparisons that a matrix allows, done or not, in the report's order."""
    places = [(dataset, setup) for dataset in results.datasets for setup in results.matrix.setups]
    return [contrast for make in _MAKERS.values() for place in places for contrast in make(*place, results)]


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
