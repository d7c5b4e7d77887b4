"""Variance with grouped test images (frames of a clip, images of one patient, near-duplicates): groups are the units.

Images of one group tend to be right or wrong together, so a variance over single images is too small. As in survey
statistics, the sum of what a group's images add to the mean is one observation (cluster-robust variance: Liang
and Zeger 1986, "Longitudinal data analysis using generalized linear models"), crossed with the seeds (two-way
clustering: Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering"). With ``Z_sg`` the sum of
seed s over the n_g images of group g, ``m_s`` and ``m`` the means of seed s and of all, S seeds and I images::

    e_g  = sum over s of Z_sg / S - n_g m               what group g adds
    d_sg = Z_sg - n_g m_s - e_g                         what seed s and group g add together

    groups   = sum over g of e_g^2 / (1 - n_g / I) / I^2
    residual = sum over s and g of d_sg^2 / (1 - n_g / I) / (S (S - 1) I^2)
    seeds    = sum over s of (m_s - m)^2 / (S (S - 1))

    V = max(seeds - residual, 0) + max(groups - residual, 0) + residual

``1 / (1 - n_g / I)`` is the correction of Bell and McCaffrey (2002, "Bias reduction in standard errors for linear
regression with multi-stage samples") for a mean. Where every image is a group of its own this is, term by term, the
variance of `benchmark.analysis.uncertainty.crossed`.

Degrees of freedom are taken as there, with the effective number of groups in the place of the images: few large groups
among many small ones decide the variance alone. It is Satterthwaite's number for a weighted sum of squares, with the
weights n_g^2 of groups whose images agree::

    G = (sum of n_g^2)^2 / sum of n_g^4
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """A partition of images into groups.

    Attributes:
        of_image: int64, shape (images,): 0..groups-1.
        sizes: int64, shape (groups,): images of each group.
    """

    of_image: np.ndarray
    sizes: np.ndarray

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def effective(self) -> float:
        """Number of groups of equal size that would give the variance as precisely (see the module)."""
        return effective_number(self.sizes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over each group's images; int64, shape (seeds, groups), of integers (seeds, images)."""
        in_order = np.argsort(self.of_image, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        return np.asarray(np.add.reduceat(values[:, in_order].astype(np.int64), starts, axis=1))


def as_groups(codes: np.ndarray | None) -> Groups | None:
    """Return groups from integers that are equal for images of one group, shape (images,), or None if all differ."""
    if codes is None:
        return None
    _, of_image, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    return None if len(sizes) == len(codes) else Groups(of_image.astype(np.int64), sizes.astype(np.int64))


def effective_number(sizes: np.ndarray) -> float:
    """Return the effective number of groups of some sizes (see the module)."""
    wide = [int(size) for size in sizes]
    return sum(n**2 for n in wide) ** 2 / sum(n**4 for n in wide)


@dataclass(frozen=True)
class Parts:
    """Parts of the variance of a mean: of seeds, of groups, and of both together."""

    seeds: float
    groups: float
    residual: float


def parts(values: np.ndarray, groups: Groups) -> Parts:
    """Return the parts of the variance of a mean (see the module); sums do not depend on the order of summation.

    Args:
        values: integers, shape (seeds, images); with one seed the parts of the seeds and of the residual are 0.
        groups: at least two.
    """
    seeds, images = values.shape
    sums = groups.sums(values).astype(np.float64)
    sizes = groups.sizes.astype(np.float64)
    of_seed, total = sums.sum(axis=1), sums.sum()
    corrected = images * (images - sizes)  # I^2 (1 - n / I)
    together = sums.sum(axis=0) / seeds - sizes * (total / (seeds * images))
    of_groups = math.fsum(together**2 / corrected)
    if seeds == 1:
        return Parts(seeds=0.0, groups=of_groups, residual=0.0)
    apart = sums - sizes * (of_seed / images)[:, None] - together
    residual = math.fsum((apart**2 / corrected).ravel()) / (seeds * (seeds - 1))
    deviations = (of_seed - total / seeds) / images
    return Parts(math.fsum(deviations**2) / (seeds * (seeds - 1)), of_groups, residual)
