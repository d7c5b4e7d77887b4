"""Which test images are hard: those that a mode's runs get wrong most often, and those on which two modes part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from benchmark.analysis.predictions import Tested
from benchmark.analysis.results import Cell


@dataclass(frozen=True)
class Hard:
    """One test image as a group of runs saw it.

    Attributes:
        image_id: its name.
        label: its class.
        said: the class that the runs that were wrong said most often (the lowest number of several).
        wrong: runs of the group that were wrong on it.
        runs: runs of the group that were tested on it.
        others_wrong: runs of the group that it is compared with that were wrong on it; None without one.
        others_runs: runs of that group that were tested on it.
    """

    image_id: str
    label: int
    said: int
    wrong: int
    runs: int
    others_wrong: int | None = None
    others_runs: int = 0


@dataclass(frozen=True)
class _Group:
    """Runs over the images that any of them was tested on: int64 counts by image, and wrong answers by image."""

    ids: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    runs: np.ndarray
    tests: tuple[Tested, ...]


def hardest(cells: Sequence[Cell], kept: Collection[str], most: int) -> list[Hard]:
    """Return the images that the runs of these cells got wrong most often, at most ``most``; none that all got right.

    By share of wrong runs, then by id.

    Args:
        cells: of one dataset; every done seed counts.
        kept: the images to choose among.
        most: at most so many.
    """
    group = _group([test for cell in cells for test in cell.tests.values()])
    if group is None:
        return []
    order = np.lexsort((group.ids, -group.wrong / group.runs))
    chosen = (int(k) for k in order if group.wrong[k] and group.ids[k] in kept)
    return [_hard(group, k) for k in islice(chosen, most)]


def parted(right: Sequence[Cell], wrong: Sequence[Cell], kept: Collection[str], most: int) -> list[Hard]:
    """Return the images on which ``wrong`` errs more often than ``right``, those of the largest gap first, then by id.

    Only the pairs of policy and seed that are done in every mode of both sides count.

    Args:
        right: cells of one side.
        wrong: cells of the other, of the same dataset; what is returned tells what these said.
        kept: the images to choose among.
        most: at most so many.
    """
    every = [*right, *wrong]
    done = [
        {(cell.key[2], seed) for cell in every if cell.key[1] == mode for seed in cell.seeds}
        for mode in {cell.key[1] for cell in every}
    ]
    common = set.intersection(*done) if done else set()
    sure, unsure = (
        _group([test for c in side for seed, test in c.tests.items() if (c.key[2], seed) in common])
        for side in (right, wrong)
    )
    if sure is None or unsure is None:
        return []
    _, here, there = np.intersect1d(sure.ids, unsure.ids, return_indices=True)
    gap = unsure.wrong[there] / unsure.runs[there] - sure.wrong[here] / sure.runs[here]
    order = np.lexsort((unsure.ids[there], -gap))
    chosen = (int(k) for k in order if gap[k] > 0 and unsure.ids[there[k]] in kept)
    return [_hard(unsure, int(there[k]), sure, int(here[k])) for k in islice(chosen, most)]


def _group(tests: Sequence[Tested]) -> _Group | None:
    if not tests:
        return None
    ids = np.unique(np.concatenate([test.images.ids for test in tests]))
    labels, wrong, runs = (np.zeros(len(ids), dtype=np.int64) for _ in range(3))
    for test in tests:
        where = np.searchsorted(ids, test.images.ids)
        runs[where] += 1
        wrong[where] += test.correct == 0
        labels[where] = test.images.labels
    return _Group(ids, labels, wrong, runs, tuple(tests))


def _hard(group: _Group, k: int, others: _Group | None = None, other: int = 0) -> Hard:
    image_id, label = group.ids[k], int(group.labels[k])
    said: Counter[int] = Counter()
    for test in group.tests:
        place = int(np.searchsorted(test.images.ids, image_id))
        if place < len(test.images.ids) and test.images.ids[place] == image_id and not test.correct[place]:
            said[int(test.predicted[place])] += 1
    return Hard(
        image_id=str(image_id),
        label=label,
        said=min(said, key=lambda answer: (-said[answer], answer)),
        wrong=int(group.wrong[k]),
        runs=int(group.runs[k]),
        others_wrong=None if others is None else int(others.wrong[other]),
        others_runs=0 if others is None else int(others.runs[other]),
    )
