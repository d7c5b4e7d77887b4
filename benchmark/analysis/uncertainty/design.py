"""The test of a dataset's cells, and the part that test images have in a variance.

Test splits hold given numbers of each class, so that a mean over images is a mean of a stratified sample (Cochran 1977,
"Sampling Techniques", ch. 5). Images of one group (frames of a clip, images of one patient, near-duplicates) tend to be
right or wrong together; as in survey statistics, the sum of what a group's images add to the mean is one observation
(cluster-robust variance: Liang and Zeger 1986, "Longitudinal data analysis using generalized linear models"). With
``z_g`` the sum of the values of unit g (a group, or an image that is its own), ``n_g`` its images and ``m_k`` the mean
of its class, which has N_k of the I images::

    e_g      = z_g - n_g m_k
    variance = sum over classes and their units of e_g^2 / (1 - n_g / N_k) / I^2

``1 / (1 - n_g / N_k)`` is the correction of Bell and McCaffrey (2002, "Bias reduction in standard errors for linear
regression with multi-stage samples") for a mean. Without groups this is the textbook's stratified variance, and with
one class the variance of a mean.

Degrees of freedom are Satterthwaite's over the classes, each with its effective number of units less one: few large
groups among many small ones decide a variance alone::

    G = (sum of n_g^2)^2 / sum of n_g^4

A class with fewer than two units is joined with others of its kind, and a single such class with the smallest. Where a
group has images of several classes, classes are left aside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

UNTESTED = -128
"""Mark of a value that was not measured because the image was not in the seed's fold; beyond any sum of differences."""


class Part(NamedTuple):
    """A part of a variance, with its degrees of freedom."""

    variance: float
    df: float


def satterthwaite(parts: Iterable[Part], variance: float) -> float:
    """Return the degrees of freedom of a variance that is a sum or a difference of independent parts.

    Satterthwaite 1946, "An approximate distribution of estimates of variance components". Where all parts are zero, the
    sum of theirs.
    """
    parts = list(parts)
    below = math.fsum(part.variance**2 / part.df for part in parts if part.variance)
    return variance**2 / below if below and variance else math.fsum(part.df for part in parts)


@dataclass(frozen=True)
class Design:
    """The test of a dataset's cells.

    Attributes:
        folds: the K of a cross-validation in which each seed was tested on one fold, or None if every seed was tested
            on every image.
        labels: integers, shape (images,): the class of each image, or None if classes are unknown.
        groups: integers, shape (images,), equal for images of one group, or None if each image is its own.
    """

    folds: int | None = None
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def of_images(self, which: np.ndarray) -> Design:
        """Return the design of some of the images, by a mask or positions."""
        labels, groups = (None if codes is None else codes[which] for codes in (self.labels, self.groups))
        return Design(self.folds, labels, groups)


@dataclass(frozen=True)
class Units:
    """Images as units of a variance: groups, or each by itself, in strata.

    Attributes:
        of_image: int64, shape (images,): 0..units-1.
        stratum: int64, shape (units,): 0..strata-1; each has at least two units.
        sizes: int64, shape (units,): number of images in each unit.
    """

    of_image: np.ndarray
    stratum: np.ndarray
    sizes: np.ndarray

    @cached_property
    def df(self) -> list[float]:
        """Degrees of freedom of each stratum."""
        second, fourth = (np.bincount(self.stratum, weights=self.sizes.astype(np.float64) ** k) for k in (2, 4))
        found: list[float] = np.maximum(second**2 / fourth - 1, 1.0).tolist()
        return found

    def squares(self, values: np.ndarray) -> list[Part]:
        """Return, for each stratum, the sum of ``e_g^2 / (1 - n_g / N_k)`` of some values with its degrees of freedom.

        Args:
            values: shape (images,).
        """
        sums = np.bincount(self.of_image, weights=values)
        images = np.bincount(self.stratum, weights=self.sizes)
        means = np.bincount(self.stratum, weights=sums) / images
        errors = sums - self.sizes * means[self.stratum]
        squares = errors**2 / (1 - self.sizes / images[self.stratum])
        return [Part(*each) for each in zip(np.bincount(self.stratum, weights=squares).tolist(), self.df, strict=True)]


def units_of(design: Design, images: int) -> Units | None:
    """Return the units of some images in their classes, or None if there are fewer than two."""
    codes = np.arange(images) if design.groups is None else design.groups
    _, first, of_image, sizes = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return None
    stratum = np.zeros(len(sizes), dtype=np.int64)
    if design.labels is not None and np.array_equal(design.labels[first][of_image], design.labels):
        stratum = _join_strata(np.unique(design.labels[first], return_inverse=True)[1])
    return Units(of_image.astype(np.int64), stratum, sizes.astype(np.int64))


def _join_strata(stratum: np.ndarray) -> np.ndarray:
    """Return strata of at least two units each, numbered from 0: those of one are joined (see the module)."""
    units = np.bincount(stratum)
    alone = np.flatnonzero(units < 2)
    if len(alone) == 1:
        others = np.delete(np.arange(len(units)), alone)
        alone = np.append(alone, others[np.argmin(units[others])]) if len(others) else alone
    merged = np.where(np.isin(stratum, alone), alone[0] if len(alone) else 0, stratum)
    return np.asarray(np.unique(merged, return_inverse=True)[1], dtype=np.int64)


def images_part(values: np.ndarray, design: Design) -> Part | None:
    """Return the variance of a mean from its images: of the values' means over the seeds that saw them.

    Args:
        values: integers, shape (seeds, images), `UNTESTED` where a seed's fold does not contain the image.
        design: design of the test.

    Returns:
        The part, or None if a fold, or the test, has fewer than two units.
    """
    tested = values != UNTESTED
    squares: list[Part] = []
    images = 0
    for seeds, seen in _folds(tested):
        units = units_of(design.of_images(seen), int(seen.sum()))
        if units is None:
            return None
        squares += units.squares(values[seeds][:, seen].sum(axis=0) / len(seeds))
        images += int(seen.sum())
    return _of_mean(squares, images)


def residual_part(values: np.ndarray, design: Design) -> Part:
    """Return what images alone contribute to the variance of a seed's mean.

    Without folds that is the residual, what a seed and an image do together; with folds all that images do, because no
    two folds share one.

    Args:
        values: as in `images_part`, with at least two seeds and, in each fold, two units.
        design: design of the test.
    """
    tested = values != UNTESTED
    if design.folds is None:
        units = units_of(design, values.shape[1])
        assert units is not None
        rows = values - values.mean(axis=0)
        weight = 1 / (len(values) - 1)
        return _of_mean(_sum([units.squares(row) for row in rows], weight, len(rows) - 1), values.shape[1])
    parts = []
    for row, seen in zip(values, tested, strict=True):
        units = units_of(design.of_images(seen), int(seen.sum()))
        assert units is not None
        parts.append(_of_mean(units.squares(row[seen]), int(seen.sum())))
    mean = math.fsum(part.variance for part in parts) / len(parts)
    return Part(mean, satterthwaite([Part(part.variance / len(parts), part.df) for part in parts], mean))


def _folds(tested: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    """Return the seeds of each fold with its images, a mask; without folds all seeds and all images."""
    seeds: dict[bytes, list[int]] = {}
    for seed, seen in enumerate(tested):
        seeds.setdefault(seen.tobytes(), []).append(seed)
    return [(own, tested[own[0]]) for own in seeds.values()]


def _sum(rows: Sequence[Sequence[Part]], weight: float, times: int) -> list[Part]:
    """Return the weighted sums over rows of each stratum's squares, with ``times`` the degrees of freedom of one."""
    return [
        Part(math.fsum(part.variance for part in of_stratum) * weight, of_stratum[0].df * times)
        for of_stratum in zip(*rows, strict=True)
    ]


def _of_mean(squares: Sequence[Part], images: int) -> Part:
    parts = [Part(part.variance / images**2, part.df) for part in squares]
    variance = math.fsum(part.variance for part in parts)
    return Part(variance, satterthwaite(parts, variance))
