"""Distances between small images, with memory linear in their number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512  # images compared with as many others at a time: arrays of 2 MB
_CELLS = 6  # per side of the coarse images

Thumbnails = NDArray[np.uint8]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def distances(some: NDArray[np.generic], others: NDArray[np.generic]) -> Floats:
    """Return root mean square differences, in the images' own unit; those of equal thumbnails are exactly 0.

    They are computed in float64, but for images that are float32.

    Args:
        some: shape (m, pixels).
        others: shape (n, pixels).

    Returns:
        shape (m, n).
    """
    precision: type[np.floating] = np.float32 if some.dtype == others.dtype == np.float32 else np.float64
    a: NDArray[np.floating] = some.astype(precision)
    b: NDArray[np.floating] = others.astype(precision)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    result: Floats = np.sqrt(np.maximum(squares, 0) / some.shape[1])
    return result


def blocks(stop: int, start: int = 0, size: int = _BLOCK) -> Iterator[slice]:
    """Yield slices of the positions ``start`` .. ``stop`` - 1."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def near(images: NDArray[np.generic], limit: float) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Yield every pair of images nearer than ``limit`` once: positions i < j and `distances`, some pairs at a time.

    Few pairs are computed in full: only those whose coarse images are near, of `_CELLS` x `_CELLS` means. The square of
    a mean is at most the mean of the squares (Jensen), so coarse images come no farther apart than the images.

    Args:
        images: shape (n, side * side), float32 or uint8; a side is a multiple of `_CELLS`.
        limit: upper limit of `distances`.
    """
    for i, j in _candidates(_coarse(images), limit):
        apart = distances(images[i], images[j])
        is_near = (apart < limit) & (i[:, None] < j)
        first, second = np.nonzero(is_near)
        if len(first):
            yield i[first], j[second], apart[is_near]


def _coarse(images: NDArray[np.generic]) -> Floats:
    """Return means of square cells less the mean of all, shape (n, `_CELLS` ** 2)."""
    side = math.isqrt(images.shape[1]) // _CELLS
    means = [
        images[rows].reshape(-1, _CELLS, side, _CELLS, side).mean(axis=(2, 4), dtype=np.float64)
        for rows in blocks(len(images))
    ]
    coarse: Floats = np.concatenate(means).reshape(len(images), -1)
    coarse -= coarse.mean()
    return coarse


def _candidates(coarse: Floats, limit: float) -> Iterator[tuple[Integers, Integers]]:
    """Yield rows and columns (positions) of parts of the table of pairs that hold all that are nearer than ``limit``.

    -|a - b|^2 / 2 = a b - |a|^2 / 2 - |b|^2 / 2 is one product of matrices, in float32 for speed; the limit is raised
    by more than its rounding.
    """
    halves = np.square(coarse).sum(axis=1, keepdims=True) / 2
    ones = np.ones_like(halves)
    left = np.hstack([coarse, -halves, ones]).astype(np.float32)
    right = np.hstack([coarse, ones, -halves]).astype(np.float32)
    least = -(limit**2) * coarse.shape[1] / 2 - 1e-5 * halves.max()
    for rows in blocks(len(coarse)):
        for many in blocks(len(coarse), rows.start, 16 * _BLOCK):
            close = left[rows] @ right[many].T >= least
            for columns in blocks(close.shape[1]):
                here = close[:, columns]
                if here.any():
                    first, second = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
                    yield rows.start + first, many.start + columns.start + second


class Alike(NamedTuple):
    """Near-duplicates of each image.

    Attributes:
        counts: int64, shape (n,): of each image, the number of others that are nearer than the limit.
        nearest: int64, shape (n,): the nearest of these, the first of several, -1 without any.
    """

    counts: Integers
    nearest: Integers


def find_alike(
    images: NDArray[np.generic], limit: float, kinds: Sequence[Callable[[Integers, Integers], Mask]]
) -> list[Alike]:
    """Return which images are nearer to others than ``limit``, for each kind of pairs; memory is linear in the images.

    Args:
        images: see `near`.
        limit: upper limit of `distances`.
        kinds: each returns which pairs are of it, bool, of the positions of each pair's images.
    """
    found = [Alike(np.zeros(len(images), np.int64), np.full(len(images), -1)) for _ in kinds]
    least = np.full((len(kinds), len(images)), np.inf)
    for first, second, apart in near(images, limit):
        for number, is_of in enumerate(kinds):
            of_kind = is_of(first, second)
            for here, there in ((first, second), (second, first)):
                i, j, own = here[of_kind], there[of_kind], apart[of_kind]
                np.add.at(found[number].counts, i, 1)
                closer = own < least[number, i]
                i, j, own = i[closer], j[closer], own[closer]
                order = np.lexsort((-j, -own))  # of several values for one place, the last stays
                least[number, i[order]] = own[order]
                found[number].nearest[i[order]] = j[order]
    return found
