"""Groups of images that belong together: near-duplicates, found on small grey thumbnails.

Two images of one class are linked when they are nearer to each other than images of different classes come. The
distance is the root mean square difference of 24-pixel grey thumbnails, in grey levels; the limit is the 1 % quantile,
over images, of the distance to the nearest image of another class. Images of different classes do not show the same
scene, so that quantile says how near unrelated images get by chance in this very dataset. Only the images to be
grouped, and their labels, are used. A group is a connected component of links. Where classes look so different that the
limit would swallow a class, it is lowered until no group holds more of its class than it may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

QUANTILE = 0.01
"""Of images, whose distance to the nearest image of another class is below the limit."""

LARGEST_SHARE = 0.225
"""Of a class, for one group of images to be split: 1.5 x the 15 % that a drawn split holds."""

LARGEST_SHARE_OF_TEST = 1 / 3
"""The same among test images, which are not split: clips are found if a class has four (rps), not if it has two."""

_STEP = 0.95
_BLOCK = 1024
_TOUCHING = 1e-6  # stands for a distance of 0, which a sparse matrix cannot hold

Thumbnails = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def distances(some: NDArray[np.generic], others: NDArray[np.generic]) -> Floats:
    """Return root mean square differences, in the images' own unit; those of equal thumbnails are exactly 0.

    Args:
        some: shape (m, pixels).
        others: shape (n, pixels).

    Returns:
        float64, shape (m, n).
    """
    a, b = some.astype(np.float64), others.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    result: Floats = np.sqrt(np.maximum(squares, 0) / some.shape[1])
    return result


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def chance_limit(thumbnails: Thumbnails, labels: Integers) -> float:
    """Return the `QUANTILE` of the distance to the nearest image of another class; 0 with one class."""
    nearest = np.full(len(labels), np.inf)
    for rows in _blocks(len(labels)):
        for columns in _blocks(len(labels)):
            apart = distances(thumbnails[rows], thumbnails[columns])
            apart[labels[rows][:, None] == labels[columns][None, :]] = np.inf
            nearest[rows] = np.minimum(nearest[rows], apart.min(axis=1))
    return float(np.quantile(nearest, QUANTILE)) if np.isfinite(nearest).all() and len(nearest) else 0.0


def _near_pairs(images: Thumbnails, limit: float) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Yield the pairs of images nearer than ``limit``, block by block: positions i < j, and their `distances`."""
    for rows in _blocks(len(images)):
        for columns in _blocks(len(images)):
            if columns.start >= rows.start:
                apart = distances(images[rows], images[columns])
                i, j = np.nonzero(apart < limit)
                above = i + rows.start < j + columns.start
                i, j = i[above], j[above]
                yield i + rows.start, j + columns.start, apart[i, j]


class Alike(NamedTuple):
    """Images that hardly differ from others.

    Attributes:
        counts: int64, shape (n,): of each image, the number of others that are nearer than the limit.
        nearest: int64, shape (n,): the nearest of these, -1 without any.
    """

    counts: Integers
    nearest: Integers


def find_alike(
    images: NDArray[np.floating], limit: float, kinds: Sequence[Callable[[slice, slice], Mask]]
) -> list[Alike]:
    """Return which images are nearer to others than ``limit``, for each kind of pairs; memory is linear in the images.

    Args:
        images: shape (n, pixels).
        limit: of `distances`.
        kinds: each returns for some rows and some columns which pairs are of it, bool, shape (rows, columns).
    """
    found = [Alike(np.zeros(len(images), np.int64), np.full(len(images), -1)) for _ in kinds]
    least = np.full((len(kinds), len(images)), np.inf)

    def note(kind: int, here: slice, there: slice, apart: Floats) -> None:
        found[kind].counts[here] += np.isfinite(apart).sum(axis=1)
        column = apart.argmin(axis=1)
        nearest = apart[np.arange(len(apart)), column]
        closer = nearest < least[kind, here]
        least[kind, here][closer] = nearest[closer]
        found[kind].nearest[here][closer] = column[closer] + there.start

    for rows in _blocks(len(images)):
        for columns in _blocks(len(images)):
            if columns.start < rows.start:
                continue
            apart = distances(images[rows], images[columns])
            apart[apart >= limit] = np.inf
            if rows == columns:
                np.fill_diagonal(apart, np.inf)
            if np.isinf(apart).all():
                continue
            for number, is_of in enumerate(kinds):
                own = np.where(is_of(rows, columns), apart, np.inf)
                note(number, rows, columns, own)
                if rows != columns:
                    note(number, columns, rows, own.T)
    return found


def _forest(thumbnails: Thumbnails, limit: float) -> coo_array:
    """Return a minimum spanning forest of the links below ``limit``: at any lower limit its components are the same."""
    shape = (len(thumbnails), len(thumbnails))
    forest = coo_array(shape)
    for i, j, apart in _near_pairs(thumbnails, limit):
        weights = np.concatenate([forest.data, np.maximum(apart, _TOUCHING)])
        places = np.concatenate([forest.row, i]), np.concatenate([forest.col, j])
        forest = coo_array(minimum_spanning_tree(coo_array((weights, places), shape=shape).tocsr()))
    return forest


def _components(count: int, pairs: Sequence[tuple[Integers, Integers]]) -> Integers:
    first = np.concatenate([pair[0] for pair in pairs])
    second = np.concatenate([pair[1] for pair in pairs])
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    ids: Integers = connected_components(graph.tocsr(), directed=False)[1].astype(np.int64)
    return ids


def _joined_by(keys: Sequence[object]) -> tuple[Integers, Integers]:
    """Return pairs that join the positions of equal keys; None joins nothing."""
    first: dict[object, int] = {}
    pairs = [(first.setdefault(key, index), index) for index, key in enumerate(keys) if key is not None]
    joined = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return joined[:, 0], joined[:, 1]


def find_groups(
    thumbnails: Thumbnails,
    labels: Integers,
    copies: Sequence[object],
    clips: Sequence[str | None],
    largest_share: float,
) -> tuple[Integers, float]:
    """Find the groups of images that must be on the same side of a drawn split, and are one unit of a test.

    Args:
        thumbnails: uint8, shape (n, pixels).
        labels: int64, shape (n,).
        copies: n values; images of equal ones are in one group, whatever the labels.
        clips: n names of clips; if none is None they are the groups, and thumbnails are not used.
        largest_share: of a class, that near-duplicates in one group may hold.

    Returns:
        the group of each image, int64, shape (n,), and the distance below which two images of a class were linked, grey
        levels.
    """
    count = len(labels)
    always = [_joined_by(copies), _joined_by(clips)]
    if count == 0 or None not in clips:
        return _components(count, always), 0.0
    limit = chance_limit(thumbnails, labels)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    forests = [_forest(thumbnails[of_class], limit) for of_class in members]
    while True:
        near = [
            (of_class[forest.row[forest.data < limit]], of_class[forest.col[forest.data < limit]])
            for of_class, forest in zip(members, forests, strict=True)
        ]
        ids = _components(count, [*always, *near])
        largest = max(np.bincount(ids[of_class]).max() / len(of_class) for of_class in members)
        if limit == 0 or largest <= largest_share:
            return ids, limit
        limit = limit * _STEP if limit > 0.5 else 0.0
