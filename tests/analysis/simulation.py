"""Simulated cells with a known truth, and how often the intervals cover it.

``python -m tests.analysis.simulation [SIMULATIONS]`` prints the table (default 1000 a design; minutes on one core).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.analysis.statistics import crossed_mean


@dataclass(frozen=True)
class World:
    """correct = [mu + image + seed + cell's image + cell's seed + noise > 0], every effect normal, noise of sd 1.

    Attributes:
        mu: of the two cells of a pair.
        seed: sd of what a seed does to both cells alike.
        image: sd of what an image does to both cells alike.
        own_seed: sd of what a seed does to one cell.
        own_image: sd of what an image does to one cell.
    """

    mu: tuple[float, float]
    seed: float
    image: float
    own_seed: float
    own_image: float

    def accuracy(self, cell: int) -> float:
        """Return the true accuracy over all seeds and images."""
        spread = 1 + self.seed**2 + self.image**2 + self.own_seed**2 + self.own_image**2
        return float(stats.norm.cdf(self.mu[cell] / np.sqrt(spread)))

    def pair(self, seeds: int, images: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return correctness of the two cells, 0 or 1, shape (seeds, images) each."""
        shared = random.normal(size=(seeds, 1)) * self.seed + random.normal(size=(1, images)) * self.image

        def cell(mu: float) -> np.ndarray:
            own = random.normal(size=(seeds, 1)) * self.own_seed + random.normal(size=(1, images)) * self.own_image
            return (mu + shared + own + random.normal(size=(seeds, images)) > 0).astype(np.int64)

        return cell(self.mu[0]), cell(self.mu[1])


WORLDS = {
    "no difference": World((1.5, 1.5), seed=0.1, image=1.5, own_seed=0.0, own_image=0.0),
    "no difference, cells differ in images": World((2.0, 2.0), seed=0.1, image=1.5, own_seed=0.2, own_image=0.7),
    "no difference, seeds matter": World((1.5, 1.5), seed=0.1, image=1.0, own_seed=0.5, own_image=0.5),
    "small difference": World((2.0, 1.5), seed=0.2, image=1.5, own_seed=0.0, own_image=0.0),
    "large difference": World((2.5, 0.8), seed=0.2, image=1.5, own_seed=0.15, own_image=0.5),
    "near the ceiling": World((3.8, 3.4), seed=0.3, image=1.5, own_seed=0.3, own_image=0.5),
    "at the ceiling": World((6.0, 6.0), seed=0.1, image=2.0, own_seed=0.1, own_image=0.5),
}


@dataclass(frozen=True)
class Coverage:
    """Shares of simulations; half-widths in percent points (medians)."""

    difference: float
    difference_half_width: float
    cell: float
    cell_half_width: float
    verdict: float
    """Share with an interval of the difference that excludes zero (whatever the number of seeds)."""


def coverage(world: World, seeds: int, images: int, simulations: int, start: int = 0) -> Coverage:
    """Simulate pairs of cells and count how often their intervals hold the truth."""
    random = np.random.default_rng([start, seeds, images])
    truth = world.accuracy(0) - world.accuracy(1)
    rows = []
    for _ in range(simulations):
        first, second = world.pair(seeds, images, random)
        difference, cell = crossed_mean(first - second), crossed_mean(first)
        assert difference.half_width is not None and cell.half_width is not None
        rows.append(
            (
                abs(difference.mean - truth) <= difference.half_width,
                difference.half_width,
                abs(cell.mean - world.accuracy(0)) <= cell.half_width,
                cell.half_width,
                abs(difference.mean) > difference.half_width,
            )
        )
    columns = np.array(rows, dtype=float)
    mean, median = columns.mean(axis=0), np.median(columns, axis=0)
    return Coverage(mean[0], 100 * median[1], mean[2], 100 * median[3], mean[4])


def main() -> None:
    """Print the table of coverages as Markdown."""
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    lines = [
        "| world | seeds | images | difference covered % | ± points | excludes zero % | cell covered % | ± points |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, world in WORLDS.items():
        for seeds in (2, 3, 5, 10):
            for images in (128, 372, 2000):
                c = coverage(world, seeds, images, simulations)
                shown = (100 * c.difference, c.difference_half_width, 100 * c.verdict, 100 * c.cell, c.cell_half_width)
                lines.append(f"| {name} | {seeds} | {images} | " + " | ".join(f"{x:.1f}" for x in shown) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
