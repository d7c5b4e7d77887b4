"""Verdicts after each seed, at a probability of error that holds for all looks together.

The mean of S runs has the variance ``images + per_run / S``, and the means of fewer and of more seeds have the
covariance of the latter: the joint distribution of group-sequential analysis, whose information is the inverse of that
variance (Jennison and Turnbull 2000, "Group Sequential Methods with Applications to Clinical Trials", ch. 3). Where
images decide, the first look has nearly all of the information.

A test's probability of error is spent by the function of Lan and DeMets (1983, "Discrete sequential boundaries for
clinical trials") of O'Brien and Fleming's type: with the share t of the information of the last look, a one-sided test
of the level a has spent ``2 - 2 Phi(z(1 - a / 2) / sqrt(t))``. Critical values follow by recursive integration
(Armitage, McPherson and Rowe 1969, "Repeated significance tests on accumulating data"). As variances are estimated,
p-values of Student's t are compared with the levels of the normal critical values (Jennison and Turnbull, ch. 11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import optimize, special

from benchmark.analysis.uncertainty.inference import equivalence_p_value, p_value
from benchmark.analysis.uncertainty.interval import CONFIDENCE, Interval, t_quantile

FUTILE = 0.10
"""Probability of a verdict at the last look, given the seeds that are done, below which no more are taken."""

LEAST = 0.005
"""Share of the last look's information that a look must add to spend any of the probability of error."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)
PANEL = 4.0
"""Width integrated with these nodes, in standard deviations of the next step."""
WIDEST = 8.0
"""Standard deviations beyond which a density is left out."""


def spending(level: float, share: float) -> float:
    """Return what a one-sided test of a level has spent of it at a share of the information (0..1)."""
    return float(2 * special.ndtr(-_z(1 - level / 2) / math.sqrt(share)))


def _z(quantile: float) -> float:
    return float(special.ndtri(quantile))


@dataclass(frozen=True)
class _Density:
    """Density of the score (estimate times information) after a look, for comparisons that take another seed.

    Attributes:
        information: information at the look.
        scores: nodes at which the density is known, shape (nodes,).
        mass: density times the width around each node, same shape.
        drift: true difference for which the density holds.
    """

    information: float
    scores: np.ndarray
    mass: np.ndarray
    drift: float

    def share_above(self, score: float, information: float, drift: float) -> float:
        """Return the probability of a score of at least this much at the next look, for a true difference."""
        step, other = information - self.information, drift - self.drift
        tilt = np.exp(other * self.scores - (drift**2 - self.drift**2) * self.information / 2)
        return float((self.mass * tilt) @ special.ndtr((self.scores + drift * step - score) / math.sqrt(step)))

    def advance(self, information: float, going_on: Sequence[tuple[float, float]], step: float) -> _Density:
        """Return the density at the next look within intervals of scores; ``step`` is the information after that."""
        added, centre, widest = (
            information - self.information,
            self.drift * information,
            WIDEST * math.sqrt(information),
        )
        scores, widths = [np.zeros(0)], [np.zeros(0)]
        for low, high in going_on:
            low, high = max(low, centre - widest), min(high, centre + widest)
            if low < high:
                edges = np.linspace(low, high, math.ceil((high - low) / (PANEL * math.sqrt(step))) + 1)
                half = np.diff(edges)[:, None] / 2
                scores.append((edges[:-1, None] + half + half * NODES).ravel())
                widths.append((half * WEIGHTS).ravel())
        at = np.concatenate(scores)
        away = at[:, None] - self.scores - self.drift * added
        kernel = np.exp(-(away**2) / (2 * added)) / math.sqrt(2 * math.pi * added)
        return _Density(information, at, np.concatenate(widths) * (kernel @ self.mass), self.drift)


def _begin(drift: float = 0.0) -> _Density:
    return _Density(0.0, np.zeros(1), np.ones(1), drift)


def _list_looks(information: Sequence[float]) -> list[tuple[int, float, float]]:
    """Return the looks that add at least `LEAST`, each with its information and what the next one adds.

    The last of them is taken to have all of the information.
    """
    numbers = [0]
    for number in range(1, len(information)):
        if information[number] - information[numbers[-1]] >= LEAST * information[-1]:
            numbers.append(number)
    own = [information[number] for number in numbers[:-1]] + [information[-1]]
    return [(number, at, after - at) for number, at, after in zip(numbers, own, [*own[1:], 2 * own[-1]], strict=True)]


def _find_critical_value(density: _Density, information: float, share: float) -> float:
    """Return the critical value that a share of the open comparisons exceeds at the next look."""
    root = math.sqrt(information)

    def excess(z: float) -> float:
        return density.share_above(z * root, information, 0.0) - share

    return float(optimize.brentq(excess, -WIDEST, 2 * WIDEST, xtol=1e-9))


@lru_cache(maxsize=4096)
def critical_values(information: tuple[float, ...], level: float) -> tuple[float, ...]:
    """Return the normal critical value of each look of a one-sided test.

    A look that adds next to nothing sees what the one before it saw, and has its critical value.

    Args:
        information: information at each look, ascending.
        level: level of the test, all looks together.
    """
    found = [math.inf] * len(information)
    density, used = _begin(), 0.0
    for number, own, step in _list_looks(information):
        now, root = spending(level, own / information[-1]), math.sqrt(own)
        missing = now - used

        if missing > 1e-14:
            found[number] = _find_critical_value(density, own, missing)
        used = now
        density = density.advance(own, [(-math.inf, found[number] * root)], step)
    taken = [number for number, _, _ in _list_looks(information)]
    return tuple(found[max(kept for kept in taken if kept <= number)] for number in range(len(information)))


@dataclass(frozen=True)
class Look:
    """A comparison after some seeds, judged together with its earlier and later looks.

    A look uses its own seeds alone: the variances estimated from them stand for those of all looks.

    Attributes:
        interval: interval as for a fixed number of seeds.
        margin: margin of equivalence, shares.
        level: probability of a wrong difference over all looks, and of wrong equivalence.
        first: seeds of the first look.
        last: seeds of the last look.
    """

    interval: Interval
    margin: float
    level: float
    first: int
    last: int

    @cached_property
    def per_run(self) -> float:
        """The part of the variance that more seeds make smaller, for one seed: at most all of it."""
        error, per_run = self.interval.standard_error, self.interval.per_run
        assert error is not None, "a look has a standard error"
        assert per_run is not None, "and knows its part of runs"
        return min(per_run, self.interval.seeds * error**2)

    @cached_property
    def information(self) -> tuple[float, ...]:
        """Information at each look."""
        variance = (self.interval.standard_error or 0.0) ** 2
        of_images = variance - self.per_run / self.interval.seeds
        return tuple(1 / (of_images + self.per_run / seeds) for seeds in range(self.first, self.last + 1))

    @property
    def number(self) -> int:
        """Number of the look, from 0."""
        return self.interval.seeds - self.first

    @cached_property
    def _critical(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Critical values of no difference, and of a difference of the margin."""
        scaled = tuple(own / self.information[-1] for own in self.information)
        return critical_values(scaled, self.level / 2), critical_values(scaled, self.level)

    @property
    def levels(self) -> tuple[float, float]:
        """Levels of this look: two-sided of no difference, one-sided of a difference of the margin."""
        difference, equivalence = (float(special.ndtr(-own[self.number])) for own in self._critical)
        return 2 * difference, equivalence

    @property
    def has_verdict(self) -> bool:
        """Whether a difference or equivalence is shown at this look."""
        found = p_value(self.interval), equivalence_p_value(self.interval, self.margin)
        possible = [p is not None and p < self.level for p in found]  # no look has a higher level than all together
        return any(possible) and any(p is not None and p < own for p, own in zip(found, self.levels, strict=True))

    @property
    def is_futile(self) -> bool:
        """Whether a verdict at the last look is improbable (`FUTILE`): images, or runs up to then, leave too much open.

        The estimate at the last look is a draw around the present one, with the variance of the runs that differ
        (predictive power: Spiegelhalter, Freedman and Blackburn 1986, "Monitoring clinical trials: conditional or
        predictive power?"). Where images decide, no number of seeds would do.
        """
        error = 1 / math.sqrt(self.information[-1])
        of_runs = math.sqrt(self.per_run * (1 / self.interval.seeds - 1 / self.last))
        if not of_runs:
            return False
        difference, equivalence = (own[-1] for own in self._critical)
        mean, beyond, within = abs(self.interval.mean), difference * error, self.margin - equivalence * error
        share = special.ndtr((mean - beyond) / of_runs) + special.ndtr((-mean - beyond) / of_runs)
        if within > 0:
            share += special.ndtr((within - mean) / of_runs) - special.ndtr((-within - mean) / of_runs)
        return bool(share < FUTILE)

    @property
    def is_settled(self) -> bool:
        """Whether this comparison needs no more seeds."""
        return self.has_verdict or self.is_futile

    def adjusted(self) -> Interval:
        """Return the interval of a comparison whose verdict ended its seeds.

        A difference is the more likely to be shown the larger it happens to be. The ends are the true differences at
        which the estimate would be as large, or as small, with a probability of 2.5 % when the looks end with the first
        verdict (Emerson and Fleming 1990, "Parameter estimation following group sequential hypothesis testing": the
        ordering by the sample mean). The farther one is taken on both sides.
        """
        interval = self.interval
        error, df = interval.standard_error, interval.df
        assert error is not None, "a look has a standard error"
        assert df is not None, "and degrees of freedom"
        tail, mean = (1 - CONFIDENCE) / 2, abs(interval.mean)
        away = 0.0
        for wanted, side in ((tail, -1), (1 - tail, 1)):

            def excess(z: float, wanted: float = wanted, side: int = side) -> float:
                return self._share_at_least(mean, mean + side * z * error) - wanted

            away = max(away, float(optimize.brentq(excess, 0.0, WIDEST, xtol=1e-6)))
        half_width = max(t_quantile(float(special.ndtr(away)), df) * error, interval.half_width or 0.0)
        return replace(interval, low=interval.mean - half_width, high=interval.mean + half_width)

    @cached_property
    def _stages(self) -> list[tuple[_Density, float, float, float]]:
        """For each look, the density before it, its information, and the scores of a difference and of equivalence."""
        found, density = [], _begin(abs(self.interval.mean))
        difference, equivalence = self._critical
        for number, own, step in _list_looks(self.information):
            root = math.sqrt(own)
            beyond = difference[number] * root
            within = min(max(self.margin * own - equivalence[number] * root, 0.0), beyond)
            found.append((density, own, beyond, within))
            going_on = [(-beyond, -within), (within, beyond)] if within else [(-beyond, beyond)]
            density = density.advance(own, going_on, step)
        return found

    def _share_at_least(self, estimate: float, drift: float) -> float:
        """Return the probability of an estimate at least this large at the end of the looks, for a true difference."""
        share = 0.0
        for density, own, beyond, within in self._stages:
            is_last = own == self.information[-1]
            pieces = [(-beyond, beyond)] if is_last else [(-within, within)]
            for low, high in [(-math.inf, -beyond), *pieces, (beyond, math.inf)]:
                low = max(low, estimate * own)
                if low < high:
                    share += density.share_above(low, own, drift)
                    share -= density.share_above(high, own, drift) if high < math.inf else 0.0
        return share
