"""Random draws: missing splits, folds, and the images under ``limit``."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.data.splits.distances import Thumbnails, blocks, distances
from benchmark.seeding import derive_seed

TEST_SEED = 0
"""Draws test splits and folds: the same for every `split_seed`, so that all runs share their test images."""

DRAWS = 25
"""Number of random draws, from which the typical one is chosen."""

_CEILING = 1.2  # times the share of a class
_PAIRS = 1 << 23  # whose distances are computed at a time, 64 MB

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


def draw(
    labels: Integers, groups: Integers, thumbnails: Thumbnails, *, fraction: float, seed: int, purpose: str
) -> Mask:
    """Return a mask of the images in a drawn split: complete groups, about ``fraction`` of every class.

    One draw of few large groups is easy or hard by luck (on RPS a nearest neighbour scores between 0.1 and 0.7 on
    single draws). So `DRAWS` are made, and of them the one is taken on which a nearest neighbour on thumbnails,
    looking among the images that are left, scores the median; that uses no image outside of those given.

    Args:
        labels: int64, shape (n,).
        groups: int64, shape (n,).
        thumbnails: uint8, shape (n, pixels).
        fraction: 0..1, of each class.
        seed: the run's ``split_seed``, or `TEST_SEED`.
        purpose: name of the split, e.g. ``validation``.

    Returns:
        bool, shape (n,). A class of a single group stays out of the drawn split.
    """
    members = _members(groups)
    draws = [
        _one_draw(labels, groups, members, fraction, np.random.default_rng(derive_seed(seed, "split", purpose, index)))
        for index in range(DRAWS)
    ]
    scores = _nearest_neighbour_scores(labels, thumbnails, draws)
    return draws[int(np.argsort(scores, kind="stable")[DRAWS // 2])]


def _members(groups: Integers) -> dict[int, list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    return members


def _one_draw(
    labels: Integers, groups: Integers, members: dict[int, list[int]], fraction: float, rng: np.random.Generator
) -> Mask:
    """Take groups in random order, class by class, that bring the class nearer to its share.

    First only groups that do not carry it beyond `_CEILING` of its share; then, if none fit, any.
    """
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = labels == label
        number, have = int(of_class.sum()), int(drawn[of_class].sum())
        target = fraction * number
        order = np.unique(groups[of_class])
        rng.shuffle(order)
        for ceiling, group in itertools.product((_CEILING * target, np.inf), order.tolist()):
            inside = members[group]
            gain = int(of_class[inside].sum())
            leaves_some = have + gain < number
            nearer = abs(have + gain - target) < abs(have - target)
            if not drawn[inside[0]] and leaves_some and nearer and have + gain <= ceiling:
                drawn[inside] = True
                have += gain
    return drawn


def _nearest_neighbour_scores(labels: Integers, thumbnails: Thumbnails, draws: Sequence[Mask]) -> list[float]:
    """Return, for each draw, the share of its images whose nearest image outside the draw has the same label."""
    correct = np.zeros(len(draws))
    beyond_reach = [np.where(drawn, np.inf, 0.0) for drawn in draws]
    for rows in blocks(len(labels), size=max(1, _PAIRS // max(1, len(labels)))):
        apart = distances(thumbnails[rows], thumbnails)
        for index, drawn in enumerate(draws):
            mine = drawn[rows]
            if mine.any() and not drawn.all():
                nearest = (apart[mine] + beyond_reach[index]).argmin(axis=1)
                correct[index] += int((labels[nearest] == labels[rows][mine]).sum())
    return [score / max(1, int(drawn.sum())) for score, drawn in zip(correct.tolist(), draws, strict=True)]


def draw_folds(labels: Integers, groups: Integers, count: int, seed: int) -> Integers:
    """Return the fold, 0..count-1, of each image: complete groups, every class spread evenly. int64, shape (n,).

    Groups, the largest first and in random order among equals, are added to the fold with the fewest images of their
    most frequent class.

    Args:
        labels: int64, shape (n,).
        groups: int64, shape (n,).
        count: number of folds.
        seed: `TEST_SEED`.
    """
    result = np.full(len(labels), -1, dtype=np.int64)
    filled = np.zeros((int(labels.max(initial=0)) + 1, count), dtype=np.int64)
    order = np.unique(groups)
    rng = np.random.default_rng(derive_seed(seed, "folds"))
    rng.shuffle(order)
    members = _members(groups)
    for group in sorted(order.tolist(), key=lambda g: -len(members[g])):
        per_class = np.bincount(labels[members[group]], minlength=len(filled))
        label = int(per_class.argmax())
        fold = int(np.lexsort((filled.sum(axis=0), filled[label]))[0])
        result[members[group]] = fold
        filled[:, fold] += per_class
    return result


def draw_limited(
    labels: Integers, groups: Integers, count: int, classes: Sequence[str], seed: int, least_of_a_class: int = 0
) -> Integers:
    """Return the positions of the images that ``limit`` keeps, in ascending order, int64.

    Stratified (each class keeps its share, to one image) and nested (a smaller limit keeps a subset of a larger one's):
    every class is put in a random order, and the classes are merged in proportion. In a class's order the images of a
    group follow each other: its groups are kept complete, but for the last one, which is cut to the class's share.

    Args:
        labels: int64, shape (n,), positions in ``classes``.
        groups: int64, shape (n,).
        count: images to keep; all are kept where there are no more.
        classes: names; a class's order depends on its name, its groups and the seed alone.
        seed: the run's ``split_seed``.
        least_of_a_class: images of each class, where it has as many, that come before all others.
    """
    ranks, first = np.empty(len(labels)), np.zeros(len(labels), bool)
    for label, name in enumerate(classes):
        rng = np.random.default_rng(derive_seed(seed, "limit", name))
        order = rng.permutation(np.flatnonzero(labels == label))
        _, appears, of_image = np.unique(groups[order], return_index=True, return_inverse=True)
        order = order[np.argsort(appears[of_image], kind="stable")]
        ranks[order] = (np.arange(len(order)) + 0.5) / max(1, len(order))
        first[order[:least_of_a_class]] = True
    return np.sort(np.lexsort((labels, ranks, ~first))[:count])
