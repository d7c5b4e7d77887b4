"""Groups of images that belong together: near-duplicates, found on small grey thumbnails.

Two images of one class are linked when they are nearer to each other than images of different classes come. The
distance is the root mean square difference of 24-pixel grey thumbnails, in grey levels; the limit is the 1 % quantile,
over images, of the distance to the nearest image of another class. Images of different classes do not show the same
scene, so that quantile says how near unrelated images get by chance in this very dataset. Only the images to be
grouped, and their labels, are used. A group is a connected component of links. Where classes look so different that the
limit would swallow a class, it is lowered until no group holds more of its class than it may.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from benchmark.data.splits.distances import Integers, Thumbnails, blocks, distances, near

QUANTILE = 0.01
"""Share of images whose distance to the nearest image of another class is below the limit."""

_SOME = 512  # images, or up to twice as many, whose distances bound the quantile
_STEP = 0.95
_TOUCHING = 1e-6  # stands for a distance of 0, which a sparse matrix cannot hold


def chance_limit(thumbnails: Thumbnails, labels: Integers) -> float:
    """Return the `QUANTILE` of the distance to the nearest image of another class; 0 with one class.

    Distances to some images bound those to the nearest from above, and with them the quantile: only pairs that are
    nearer than the bound can decide it.
    """
    if len(np.unique(labels)) < 2:
        return 0.0
    some = np.arange(0, len(labels), max(1, len(labels) // _SOME))
    nearest = np.full(len(labels), np.inf)
    for rows in blocks(len(labels)):
        apart = distances(thumbnails[rows], thumbnails[some])
        apart[labels[rows][:, None] == labels[some][None, :]] = np.inf
        nearest[rows] = apart.min(axis=1)
    bound = np.sort(nearest)[min(int(QUANTILE * len(nearest)) + 2, len(nearest) - 1)]  # the quantile lies between two
    for i, j, apart in near(thumbnails, np.nextafter(bound, np.inf)):
        differs = labels[i] != labels[j]
        np.minimum.at(nearest, i[differs], apart[differs])
        np.minimum.at(nearest, j[differs], apart[differs])
    return float(np.quantile(np.minimum(nearest, bound), QUANTILE))


def _forest(thumbnails: Thumbnails, limit: float) -> coo_array:
    """Return a minimum spanning forest of the links below ``limit``: at any lower limit its components are the same.

    Places are int32: up to 1.15, the last version for Python 3.10, SciPy's minimum_spanning_tree takes no others.
    """
    shape = (len(thumbnails), len(thumbnails))
    forest = coo_array(shape)
    for i, j, apart in near(thumbnails, limit):
        weights = np.concatenate([forest.data, np.maximum(apart, _TOUCHING)])
        places = tuple(np.concatenate(each).astype(np.int32) for each in ([forest.row, i], [forest.col, j]))
        forest = coo_array(minimum_spanning_tree(coo_array((weights, places), shape=shape).tocsr()))
    return forest


def _components(count: int, pairs: Sequence[tuple[Integers, Integers]]) -> Integers:
    """Return the component of each place. Places are int32: SciPy 1.11's connected_components takes no others."""
    first, second = (np.concatenate(each).astype(np.int32) for each in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    ids: Integers = connected_components(graph.tocsr(), directed=False)[1].astype(np.int64)
    return ids


def _joined_by(keys: Sequence[object]) -> tuple[Integers, Integers]:
    """Return pairs of positions with equal keys, except for None."""
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
        largest_share: largest share of a class that near-duplicates in one group may contain.

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
