"""The part that runs have in a variance, moderated: few runs of a cell say little about how much its runs vary.

The between-seed variance of a cell's accuracy, from S runs, has S - 1 degrees of freedom: with three runs, the widths
of two intervals of one experiment differ by a factor of six to eight, and the narrowest, which give the verdicts, are
too narrow. Cells of one dataset vary alike, so each is estimated together with the others (Smyth 2004, "Linear models
and empirical Bayes methods for assessing differential expression in microarray experiments"): the variances ``s^2``
with ``d`` degrees of freedom are draws around a scaled inverse chi-squared prior of ``s0^2`` and ``d0``, and::

    moderated = (d0 s0^2 + d s^2) / (d0 + d)

``d0`` is fitted by moments of the logarithms. With ``e = log s^2 - psi(d / 2) + log(d / 2)``, psi the digamma and psi'
the trigamma function::

    psi'(d0 / 2) = variance of e within kinds - mean of psi'(d / 2)

Where the right side is not positive, the variances differ no more than chance makes them, and d0 is infinite. ``s0^2``
is the mean of the variances of a kind, weighted by d, whatever d0: a comparison needs the expectation of a sum of
variances. Smyth's scale, ``log s0^2 = mean of e + psi(d0 / 2) - log(d0 / 2)``, is that of the precisions, and intervals
made of it are too narrow where cells vary differently (`experiments/studies/interval_coverage.md`). Pretrained weights
are one kind, training from scratch is another: its runs varied two to three times as much on two datasets of the
benchmark's first version, and as much or less on the others.

A sum of moderated variances ``sum of c^2 moderated`` (c: the coefficients of a comparison) is uncertain by its cells,
with d0 + d degrees of freedom each, which are independent, and by the scale that cells of a kind share, estimated from
the d of all N cells of it. Satterthwaite over both, here of one kind::

    1 / df = sum of (c^2 moderated)^2 / (d0 + d) / (sum of c^2 moderated)^2 + 1 / (sum of d over the N cells)

In a cross-validation a fold's images make the means of all cells rise and fall together, so that N cells say less about
the scale than N independent ones. With h the images' part of the variances, the last term becomes ``1 / sum of d +
h^2 / d``: the squared correlation, were that part entirely common.

Frozen backbones share nothing with trained ones: they have a prior of their own. Runs of different cells are
independent, even where they share a seed: over 192 pairs of cells of this benchmark's first version their correlation
was between -0.06 and 0.04.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from benchmark.analysis.uncertainty.design import UNTESTED, Design, Part, images_part, residual_part, satterthwaite

FEWEST_CELLS = 4
"""Minimum number of cells for fitting a prior; with fewer, each keeps its own variance."""

FLOOR = 0.01
"""Smallest between-seed variance in a fit, as a share of the binomial variance p (1 - p) / images: equal accuracies of
all seeds are chance, and have no logarithm."""


ROUNDING = 1e-12
"""Share of a variance below which a difference of variances is zero."""


@dataclass(frozen=True)
class Prior:
    """Common prior of the variances of the cells of one dataset and kind (see the module).

    Attributes:
        variance: s0^2, with the degrees of freedom of all these cells together.
        df: d0, may be infinite.
    """

    variance: Part
    df: float


@dataclass(frozen=True)
class Runs:
    """Variance of one run's mean over its test images.

    Attributes:
        variance: variance between runs, from everything that makes their means differ.
        of_images: the part of it that is due to images alone, see `design.residual_part`.
        over_folds: whether each run was tested on the images of a fold.
        prior: the prior that moderated the variance, whose degrees of freedom are then those of a known prior, or None
            for a cell's own variance, and for a comparison's, see `combine`.
    """

    variance: Part
    of_images: Part
    over_folds: bool = False
    prior: Prior | None = None

    @property
    def excess(self) -> float:
        """The variance in excess of the images' part, at least 0."""
        excess = self.variance.variance - self.of_images.variance
        return excess if excess > ROUNDING * self.variance.variance else 0.0


def between_runs(values: np.ndarray, design: Design) -> Runs | None:
    """Return the variance of some runs from themselves, or None with fewer than two runs or two units.

    Args:
        values: integers, shape (seeds, images), see `design.images_part`.
        design: design of the test.
    """
    if len(values) < 2 or images_part(values, design) is None:
        return None
    means = [float(row[row != UNTESTED].mean()) for row in values]
    mean = math.fsum(means) / len(means)
    variance = math.fsum((own - mean) ** 2 for own in means) / (len(means) - 1)
    return Runs(Part(variance, len(means) - 1), residual_part(values, design), design.folds is not None)


def moderate(
    cells: Sequence[Runs], kinds: Sequence[int], accuracies: Sequence[float], images: Sequence[float]
) -> list[Runs]:
    """Return the cells of one dataset with moderated variances.

    A cell that is always right, or always wrong, has no prior and gives none, and neither does the only one of a kind.

    Args:
        cells: each cell's own variance.
        kinds: equal for cells of one kind.
        accuracies: accuracy of each cell, 0..1.
        images: number of test images of a run, for each cell.
    """
    binomial = np.array([p * (1 - p) / n for p, n in zip(accuracies, images, strict=True)])
    kind = np.where(binomial > 0, kinds, -1)
    shared = [k for k in range(len(cells)) if kind[k] >= 0 and np.count_nonzero(kind == kind[k]) > 1]
    if len(shared) < FEWEST_CELLS:
        return list(cells)
    own, df = np.array([cells[k].variance for k in shared]).T
    floored = np.maximum(own, FLOOR * binomial[shared])
    d0 = prior_df(floored, df, kind[shared])
    priors = {}
    for each in set(kind[shared].tolist()):
        variances, weights = floored[kind[shared] == each], df[kind[shared] == each]
        mean = float((variances * weights).sum() / weights.sum())
        alike = 0.0
        if cells[shared[0]].over_folds:
            of_images = np.array([cells[k].of_images.variance for k in shared])[kind[shared] == each]
            alike = min(float((of_images * weights).sum() / weights.sum()) / mean, 1.0) ** 2 / float(weights.mean())
        priors[each] = Prior(Part(mean, 1 / (1 / float(weights.sum()) + alike)), d0)
    found = list(cells)
    for k, s2, d in zip(shared, own.tolist(), df.tolist(), strict=True):
        prior = priors[int(kind[k])]
        s0 = prior.variance.variance
        variance = s0 if math.isinf(d0) else (d0 * s0 + d * s2) / (d0 + d)
        found[k] = replace(cells[k], variance=Part(variance, d0 + d), prior=prior)
    return found


def prior_df(variances: np.ndarray, df: np.ndarray, kinds: np.ndarray) -> float:
    """Return d0, the degrees of freedom of the prior of some variances (see the module), which may be infinite.

    Args:
        variances: positive, shape (cells,).
        df: degrees of freedom of each variance.
        kinds: kind of each cell, integers; fewer kinds than cells.
    """
    e = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    own = [e[kinds == kind] for kind in np.unique(kinds)]
    within = sum(((each - each.mean()) ** 2).sum() for each in own) / (len(e) - len(own))
    beyond = float(within - special.polygamma(1, df / 2).mean())
    if beyond <= 0:
        return math.inf
    return 2 * float(optimize.brentq(lambda half: special.polygamma(1, half) - beyond, 1e-6, 1e12))


def combine(cells: Iterable[tuple[float, Runs]]) -> Runs:
    """Return the variance of one run's value of a comparison, or of one cell: a sum over cells and their coefficients.

    Cells with the same prior, which is one object, share its scale.
    """
    weighted = [(coefficient**2, runs) for coefficient, runs in cells]
    of_images = [Part(weight * runs.of_images.variance, runs.of_images.df) for weight, runs in weighted]
    own = [Part(weight * runs.variance.variance, runs.variance.df) for weight, runs in weighted]
    scales: dict[int, Part] = {}
    for part, (_, runs) in zip(own, weighted, strict=True):
        if runs.prior is not None:
            before = scales.get(id(runs.prior), Part(0.0, 0.0)).variance
            scales[id(runs.prior)] = Part(before + part.variance, runs.prior.variance.df)
    total = math.fsum(part.variance for part in own)
    images = math.fsum(part.variance for part in of_images)
    return Runs(
        Part(total, satterthwaite([*own, *scales.values()], total)), Part(images, satterthwaite(of_images, images))
    )
