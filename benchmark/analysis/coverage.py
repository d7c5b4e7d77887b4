"""How often intervals of a design held the truth in simulations: a table that the simulation wrote, and a look-up."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

What = Literal[
    "accuracy",
    "folds",
    "macro_f1",
    "log_loss",
    "calibration_error",
    "accuracy on groups",
    "macro_f1 on groups",
    "log_loss on groups",
    "calibration_error on groups",
]
"""Whose intervals; on groups: test images come in groups, which are the units."""

TABLE = Path(__file__).with_name("coverage.csv")
"""Written by ``python -m tests.analysis.simulation``; shares of simulations, the lowest and highest of the worlds."""

GROUP_SIZE = 20
"""Images in a group, on average, of the designs on groups. Where groups are nearer to one image (as a ratio), the
designs on images tell more, with groups counted as images."""

COLUMNS = (
    "what",
    "seeds",
    "images",
    "worlds",
    "difference_lowest",
    "difference_highest",
    "cell_lowest",
    "cell_highest",
)


@dataclass(frozen=True)
class Covered:
    """What simulation gives for a design.

    Attributes:
        what: whose intervals.
        seeds: number of seeds.
        images: number of test images; on groups: of groups.
        worlds: made-up worlds that were simulated.
        difference: lowest and highest share of intervals of paired differences that held the truth.
        cell: the same for single cells.
    """

    what: What
    seeds: int
    images: int
    worlds: int
    difference: tuple[float, float]
    cell: tuple[float, float]


@cache
def table() -> tuple[Covered, ...]:
    """Return every simulated design."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Covered(
                what=cast(What, row["what"]),
                seeds=int(row["seeds"]),
                images=int(row["images"]),
                worlds=int(row["worlds"]),
                difference=(float(row["difference_lowest"]), float(row["difference_highest"])),
                cell=(float(row["cell_lowest"]), float(row["cell_highest"])),
            )
            for row in csv.DictReader(file)
        )


def nearest(what: What, seeds: int, images: int) -> Covered:
    """Return the simulated design of at most so many seeds whose number of images or groups is nearest (as a ratio).

    Raises:
        LookupError: nothing was simulated with so few seeds.
    """
    own = [row for row in table() if row.what == what and row.seeds <= seeds]
    if not own:
        raise LookupError(f"no simulation of {what} with {seeds} seeds or fewer")
    most = max(row.seeds for row in own)
    return min(
        (row for row in own if row.seeds == most),
        key=lambda row: (abs(math.log(row.images / max(images, 1))), row.images),
    )
