"""Distances between small images, in memory that is linear in their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512  # images compared with as many others at a time: arrays of 2 MB

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


def blocks(count: int) -> Iterator[slice]:
    """Yield slices of some positions."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


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

    for rows in blocks(len(images)):
        for columns in blocks(len(images)):
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
