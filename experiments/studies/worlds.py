"""Made-up worlds in which the truth about two cells is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.analysis.uncertainty.design import UNTESTED


@dataclass(frozen=True)
class World:
    """correct = [mu + image + seed + group + cell's own of each + noise > 0], every effect normal, noise of sd 1.

    Attributes:
        mu: of the two cells of a pair.
        seed: sd of what a seed does to both cells alike.
        image: sd of what an image does to both cells alike.
        own_seed: sd of what a seed does to one cell.
        own_image: sd of what an image does to one cell.
        group: sd of what a group of images does to both cells alike.
        own_group: sd of what a group does to one cell.
        own_meeting: sd of what a seed and a group together do to one cell.
    """

    mu: tuple[float, float]
    seed: float
    image: float
    own_seed: float
    own_image: float
    group: float = 0.0
    own_group: float = 0.0
    own_meeting: float = 0.0

    def accuracy(self, cell: int) -> float:
        """Return the true accuracy over all seeds and images."""
        effects = (self.seed, self.image, self.own_seed, self.own_image, self.group, self.own_group, self.own_meeting)
        spread = 1 + sum(sd**2 for sd in effects)
        return float(stats.norm.cdf(self.mu[cell] / np.sqrt(spread)))

    def margins(
        self,
        images: int,
        random: np.random.Generator,
        seeds: Callable[[], np.ndarray],
        groups: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what stands before > 0, shape (seeds, images) for each cell.

        Args:
            images: number of them.
            random: draws every other effect.
            seeds: draws the seeds' effects.
            groups: the group of each image, 0..groups-1; None: groups have no effect.
        """

        def of_groups(rows: int, sd: float) -> np.ndarray | float:
            return 0.0 if groups is None else random.normal(size=(rows, groups.max() + 1))[:, groups] * sd

        shared = seeds()[:, None] * self.seed + random.normal(size=(1, images)) * self.image + of_groups(1, self.group)

        def cell(mu: float) -> np.ndarray:
            own = seeds()[:, None] * self.own_seed + random.normal(size=(1, images)) * self.own_image
            own = own + of_groups(1, self.own_group) + of_groups(len(own), self.own_meeting)
            return np.asarray(mu + shared + own + random.normal(size=(len(own), images)))

        return cell(self.mu[0]), cell(self.mu[1])

    def pair(
        self, seeds: int, images: int, random: np.random.Generator, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return correctness of the two cells, 0 or 1, shape (seeds, images) each; ``groups`` as in `margins`."""
        first, second = self.margins(images, random, lambda: random.normal(size=seeds), groups)
        return (first > 0).astype(np.int64), (second > 0).astype(np.int64)

    def folded_pair(
        self, folds: int, seeds: int, images: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same of a cross-validation: seed s is tested on fold s modulo ``folds`` of ``images`` images.

        What seeds and training sets do to two folds is correlated by 1 / folds, what Nadeau and Bengio take it to be.
        """

        def effects() -> np.ndarray:
            common, own = random.normal(), random.normal(size=seeds)
            return np.asarray(np.sqrt(1 / folds) * common + np.sqrt(1 - 1 / folds) * own)

        fold_of_image = np.arange(images) % folds
        untested = fold_of_image[None, :] != (np.arange(seeds) % folds)[:, None]
        first, second = ((margin > 0).astype(np.int64) for margin in self.margins(images, random, effects))
        first[untested] = second[untested] = UNTESTED
        return first, second


WORLDS = {
    "no difference": World((1.5, 1.5), seed=0.1, image=1.5, own_seed=0.0, own_image=0.0),
    "no difference, cells differ in images": World((2.0, 2.0), seed=0.1, image=1.5, own_seed=0.2, own_image=0.7),
    "no difference, seeds matter": World((1.5, 1.5), seed=0.1, image=1.0, own_seed=0.5, own_image=0.5),
    "no difference near the ceiling": World((3.8, 3.8), seed=0.3, image=1.5, own_seed=0.6, own_image=0.5),
    "small difference": World((2.0, 1.5), seed=0.2, image=1.5, own_seed=0.0, own_image=0.0),
    "large difference": World((2.5, 0.8), seed=0.2, image=1.5, own_seed=0.15, own_image=0.5),
    "near the ceiling": World((3.8, 3.4), seed=0.3, image=1.5, own_seed=0.3, own_image=0.5),
    "at the ceiling, no difference": World((6.0, 6.0), seed=0.1, image=2.0, own_seed=0.1, own_image=0.5),
    "one never errs, one on 2 % of images": World((9.0, 4.2), seed=0.1, image=1.5, own_seed=0.1, own_image=0.3),
    "one never errs, one on the same 1 %": World((19.0, 9.8), seed=0.1, image=4.0, own_seed=0.1, own_image=0.3),
}

GROUPED_WORLDS = {
    "no difference, groups alike": World((1.5, 1.5), 0.1, 1.5, 0.0, 0.0),
    "no difference, groups differ": World((2.0, 2.0), 0.1, 1.0, 0.2, 0.3, group=1.0, own_group=0.5, own_meeting=0.3),
    "no difference, groups decide": World((2.5, 2.5), 0.1, 0.5, 0.2, 0.2, group=2.0, own_group=1.0, own_meeting=0.3),
    "no difference, seeds meet groups": World(
        (2.0, 2.0), 0.1, 0.7, 0.5, 0.2, group=1.0, own_group=0.3, own_meeting=1.0
    ),
    "no difference near the ceiling, groups differ": World(
        (4.5, 4.5), 0.2, 1.0, 0.3, 0.3, group=1.5, own_group=0.7, own_meeting=0.5
    ),
    "large difference, groups differ": World((2.5, 0.8), 0.2, 1.0, 0.2, 0.3, group=1.0, own_group=0.5, own_meeting=0.3),
    "near the ceiling, groups differ": World((4.5, 3.5), 0.2, 1.0, 0.3, 0.3, group=1.5, own_group=0.7, own_meeting=0.5),
}
"""Worlds whose images come in groups."""
