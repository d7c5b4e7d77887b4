"""Made-up datasets in which the truth about every cell is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from experiments.studies.batch import Layout

FROM_SCRATCH = 2
"""Cells, the last of a world, that are trained from scratch and are a kind of their own."""


@dataclass(frozen=True)
class World:
    """right = [mu + class + image + group + run + noise > 0], with effects of each cell's own, normal, noise of sd 1.

    Attributes:
        mu: of each cell.
        run: median sd of what a run does to its cell; cells from scratch have ``scratch`` times as much.
        spread: sd of the logarithm of a cell's sd of runs, drawn for each simulation.
        scratch: see ``run``.
        first: factor of the first cell's sd of runs.
        image: sd of what an image does to all cells alike.
        own_image: sd of what an image does to one cell.
        classes: what a class does to all cells alike.
        run_class: sd of what a run does to its cell in one class.
        group: sd of what a group of images does to all cells alike.
        own_group: sd of what a group does to one cell.
        run_group: sd of what a run and a group together do.
    """

    mu: tuple[float, ...]
    run: float = 0.12
    spread: float = 0.0
    scratch: float = 1.0
    first: float = 1.0
    image: float = 1.2
    own_image: float = 0.5
    classes: tuple[float, ...] = (0.3, 0.0, -0.3)
    run_class: float = 0.1
    group: float = 0.0
    own_group: float = 0.0
    run_group: float = 0.0

    @property
    def kinds(self) -> np.ndarray:
        """0 for cells with pretrained weights, 1 for those from scratch."""
        return (np.arange(len(self.mu)) >= len(self.mu) - FROM_SCRATCH).astype(np.int64)

    def draw(
        self, simulations: int, seeds: int, layout: Layout, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return margins, what stands before > 0, and the true accuracies over all runs and images.

        In a cross-validation what runs do in two folds is correlated by 1 / folds, as Nadeau and Bengio take it to be.

        Returns:
            float32, shape (simulations, cells, seeds, images of a seed), and shape (simulations, cells).
        """
        cells, images = len(self.mu), len(layout.labels)
        places = 1 if layout.folds is None else min(layout.folds, seeds)
        seen = np.arange(seeds) % places if layout.folds else np.zeros(seeds, dtype=np.int64)
        run = self.run * np.where(self.kinds, self.scratch, 1.0)
        run[0] *= self.first
        run = run * np.exp(self.spread * random.standard_normal((simulations, cells)))

        def normal(*shape: int) -> np.ndarray:
            return random.standard_normal((simulations, *shape), dtype=np.float32)

        def of_runs(*shape: int) -> np.ndarray:
            """Return what runs do, shape (simulations, cells, seeds, ...)."""
            own = normal(cells, seeds, *shape)
            if layout.folds is None:
                return own
            common = normal(cells, 1, *shape)
            return np.asarray(np.sqrt(1 / layout.folds) * common + np.sqrt(1 - 1 / layout.folds) * own)

        margins = normal(cells, seeds, images)
        margins += np.asarray(self.mu, dtype=np.float32)[:, None, None]
        margins += np.asarray(self.classes, dtype=np.float32)[layout.labels]
        margins += (np.float32(self.image) * normal(1, places, images))[:, :, seen]
        margins += (np.float32(self.own_image) * normal(cells, places, images))[:, :, seen]
        margins += of_runs(1) * run.astype(np.float32)[:, :, None, None]
        if self.run_class:
            margins += (np.float32(self.run_class) * of_runs(len(self.classes)))[..., layout.labels]
        if layout.groups is not None:
            groups = layout.groups.max() + 1
            for sd, cells_alike, runs_alike in (
                (self.group, 1, True),
                (self.own_group, cells, True),
                (self.run_group, cells, False),
            ):
                effect = normal(cells_alike, places if runs_alike else seeds, groups)[..., layout.groups]
                margins += np.float32(sd) * (effect[:, :, seen] if runs_alike else effect)
        grouped = (self.group, self.own_group, self.run_group) if layout.groups is not None else ()
        others = sum(sd**2 for sd in (1.0, self.image, self.own_image, self.run_class, *grouped))
        scale = np.sqrt(others + run**2)[..., None]
        share = np.bincount(layout.labels) / images
        centre = np.asarray(self.mu)[:, None] + np.asarray(self.classes)
        return margins, (special.ndtr(centre / scale) * share).sum(axis=2)


EIGHT = (1.5,) * 6 + (0.9,) * FROM_SCRATCH

ONE_SIDED = "every other never errs, others on 2 %"

WORLDS = {
    "runs vary alike": World(EIGHT),
    "runs vary differently": World(EIGHT, spread=0.3),
    "runs vary differently, 12 cells": World((1.5,) * 10 + (0.9,) * FROM_SCRATCH, spread=0.3),
    "runs vary differently, 6 cells": World((1.5,) * 4 + (0.9,) * FROM_SCRATCH, spread=0.3),
    "from scratch runs vary more": World(EIGHT, spread=0.2, scratch=2.5),
    "runs vary little": World(EIGHT, run=0.05, run_class=0.05, spread=0.3),
    "runs vary much": World(EIGHT, run=0.3, spread=0.3),
    "classes differ much": World(EIGHT, spread=0.3, classes=(1.5, 0.0, -1.2)),
    "near the ceiling": World((3.3,) * 6 + (2.9,) * FROM_SCRATCH, run=0.2, spread=0.3),
    ONE_SIDED: World((9.0, 4.2) * 4, run=0.15, spread=0.3, image=1.5, own_image=0.3, run_class=0.0),
    "at the ceiling": World((4.6,) * 6 + (4.2,) * FROM_SCRATCH, run=0.2, spread=0.3),
}

UNLIKE = World(EIGHT, spread=0.3, first=4.0)
"""One cell's runs vary four times as much as the others'."""

GROUPED_WORLDS = {
    "groups alike": World(EIGHT, spread=0.3),
    "groups differ": World(EIGHT, spread=0.3, group=1.0, own_group=0.4, run_group=0.2),
    "groups decide": World(EIGHT, spread=0.3, image=0.5, group=2.0, own_group=0.8, run_group=0.2),
    "groups differ near the ceiling": World(
        (4.2,) * 6 + (3.6,) * FROM_SCRATCH, run=0.2, spread=0.3, group=1.5, own_group=0.6, run_group=0.3
    ),
}
"""Worlds whose images come in groups."""
