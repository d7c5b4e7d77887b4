"""How often the intervals contain the truth, by simulation.

``python -m experiments.studies.interval_coverage [SIMULATIONS]`` (default 4000 per design; an hour and a half of one
core) writes ``interval_coverage.md`` next to this file, and fails where a line leaves the bands of `outside`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.analysis.scores import SCORES, quality
from benchmark.analysis.uncertainty import bootstrap
from benchmark.analysis.uncertainty.clusters import Groups, as_groups
from benchmark.analysis.uncertainty.design import Design
from benchmark.analysis.uncertainty.interval import FEW_IMAGES, Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference
from benchmark.analysis.uncertainty.runs import between_runs
from experiments.studies.worlds import GROUPED_WORLDS, WORLDS, World

SEEDS = (1, 2, 3, 4, 5, 10)
IMAGES = (128, 372, 2000)
FOLDS = 5
FOLDED_SEEDS = (2, 3, 5, 10)
FOLDED_IMAGES = (60, 150, 500)
SCORED_SEEDS = (1, 2, 3, 5, 10)
SCORED_IMAGES = (128, 372)
GROUPS = (6, 12, 40)
SMALLEST_GROUP, LARGEST_GROUP = 5, 35
GROUPED_SEEDS = (1, 2, 3, 5, 10)
SCORED_GROUPS = (12, 40)
SCORED_GROUPED_SEEDS = (1, 2, 3, 5)
SCORED_GROUPED_WORLDS = (
    "no difference, groups differ",
    "large difference, groups differ",
    "near the ceiling, groups differ",
)
SCORED_WORLDS = ("no difference", "no difference, seeds matter", "large difference", "near the ceiling")
CLASSES = 3


@dataclass(frozen=True)
class Coverage:
    """Shares of simulations; half-widths (medians) in the unit of the scores, images as a median.

    Attributes:
        difference: of intervals of the difference that hold the truth.
        half_width: of them.
        cell: of intervals of the first cell that hold the truth.
        cell_half_width: of them.
        supported: of intervals of the difference that lie above zero.
        contradicted: of intervals of the difference that lie below zero.
        informative: images on which the two cells differ in any seed.
        cell_telling: images that any seed got wrong in the first cell.
    """

    difference: float
    half_width: float
    cell: float
    cell_half_width: float
    supported: float
    contradicted: float
    informative: float
    cell_telling: float

    @property
    def few(self) -> bool:
        """Whether in half of the simulations fewer images tell than the rule of three asks for."""
        return self.informative < FEW_IMAGES


def _holds(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def grouped_images(groups: int) -> np.ndarray:
    """Return the group of each image, int64: groups of 5 to 35 images, 20 on average, sizes in equal steps."""
    sizes = np.linspace(SMALLEST_GROUP, LARGEST_GROUP, groups).round().astype(np.int64)
    return np.repeat(np.arange(groups), sizes)


def coverage(
    world: World, seeds: int, images: int, simulations: int, folds: int | None = None, groups: np.ndarray | None = None
) -> Coverage:
    """Simulate pairs of cells and count how often their intervals hold the truth."""
    random = np.random.default_rng([folds or 0, seeds, images])
    truths = world.accuracy(0) - world.accuracy(1), world.accuracy(0)
    rows = []
    for _ in range(simulations):
        if folds is None:
            first, second = world.pair(seeds, images, random, groups)
            apart = first - second
        else:
            first, second = world.folded_pair(folds, seeds, images, random)
            apart = np.where(first < 0, first, first - second)
        design = Design(folds, groups=groups)
        difference = mean_difference(apart, design, between_runs(apart, design))
        cell = mean_accuracy(first, design, between_runs(first, design))
        assert difference.low is not None
        assert difference.high is not None
        rows.append(
            (
                _holds(difference, truths[0]),
                difference.half_width,
                _holds(cell, truths[1]),
                cell.half_width,
                difference.low > 0,
                difference.high < 0,
                np.count_nonzero(np.where(first < 0, 0, apart).any(axis=0)),
                np.count_nonzero((first == 0).any(axis=0)),
            )
        )
    return _summary(rows)


def _summary(rows: Sequence[tuple[Any, ...]]) -> Coverage:
    columns = np.array(rows, dtype=float)
    mean, median = columns.mean(axis=0).tolist(), np.median(columns, axis=0).tolist()
    return Coverage(mean[0], median[1], mean[2], median[3], mean[4], mean[5], median[6], median[7])


def scored_coverage(
    world: World, seeds: int, images: int, simulations: int, groups: np.ndarray | None = None
) -> dict[str, Coverage]:
    """Do the same for each of `SCORES`, by the crossed bootstrap.

    The truth is the mean of the scores over all simulations: a calibration error on few images is biased upward, and
    its interval is about what such a test set shows on average.
    """
    random = np.random.default_rng([3, seeds, images])
    units = as_groups(groups)
    counts = bootstrap.resample_counts(images, units)
    cells: list[tuple[np.ndarray, list[Interval], list[Interval], float]] = []
    for _ in range(simulations):
        label = random.integers(0, CLASSES, images)
        margins = world.margins(images, random, lambda: random.normal(size=seeds), groups)
        runs = [[quality(label, *_predicted(row, label), counts) for row in margin] for margin in margins]
        points = np.array([[run.scores for run in cell] for cell in runs])
        resampled = np.array([[run.resampled for run in cell] for cell in runs])
        apart = points[0] - points[1], resampled[0] - resampled[1]
        wrong = int(np.count_nonzero((margins[0] <= 0).any(axis=0)))
        told = int(np.count_nonzero(((margins[0] > 0) != (margins[1] > 0)).any(axis=0)))
        cells.append(
            (
                points[:, :, :].mean(axis=1),
                [_interval(apart[0], apart[1], k, images, told, units) for k in range(len(SCORES))],
                [_interval(points[0], resampled[0], k, images, wrong, units) for k in range(len(SCORES))],
                float(told),
            )
        )
    truth = np.mean([points for points, *_ in cells], axis=0)
    found = {}
    for k, name in enumerate(SCORES):
        rows = [
            (
                _holds(differences[k], truth[0, k] - truth[1, k]),
                differences[k].half_width,
                _holds(own[k], truth[0, k]),
                own[k].half_width,
                differences[k].sign > 0,
                differences[k].sign < 0,
                told,
                0.0,
            )
            for _, differences, own, told in cells
        ]
        found[name] = _summary(rows)
    return found


def _interval(
    points: np.ndarray, resampled: np.ndarray, score: int, images: int, informative: int, groups: Groups | None
) -> Interval:
    few = None if SCORES[score] in ("log_loss", "calibration_error") else informative
    return bootstrap.mean_score(points[:, score].tolist(), resampled[:, score], images, None, few, groups)


def _predicted(margin: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted class and the probabilities of a margin: the more sure, the further from zero."""
    right = 1 / (1 + np.exp(-1.2 * margin))
    probabilities = np.empty((len(margin), CLASSES))
    probabilities[:] = 0.005 * (1 - right)[:, None]
    rows = np.arange(len(margin))
    probabilities[rows, label] = right
    other = (label + 1) % CLASSES
    probabilities[rows, other] = 0.995 * (1 - right)
    return np.where(margin > 0, label, other), probabilities


Row = tuple[str, str, int, int, Coverage]


def designs(simulations: int) -> Iterator[Row]:
    """Simulate everything in the table, one row at a time: title, world, seeds, images, coverage."""
    for name, world in WORLDS.items():
        for seeds in SEEDS:
            for images in IMAGES:
                yield "accuracy", name, seeds, images, coverage(world, seeds, images, simulations)
        for seeds in FOLDED_SEEDS:
            for images in FOLDED_IMAGES:
                yield "folds", name, seeds, images, coverage(world, seeds, images, simulations // 2, FOLDS)
    for name in SCORED_WORLDS:
        for seeds in SCORED_SEEDS:
            for images in SCORED_IMAGES:
                found = scored_coverage(WORLDS[name], seeds, images, simulations // 2)
                for score, of_score in found.items():
                    yield score, name, seeds, images, of_score
    for name, world in GROUPED_WORLDS.items():
        for seeds in GROUPED_SEEDS:
            for groups in GROUPS:
                of_image = grouped_images(groups)
                own = coverage(world, seeds, len(of_image), simulations // 2, groups=of_image)
                yield "accuracy on groups", name, seeds, groups, own
    for name in SCORED_GROUPED_WORLDS:
        for seeds in SCORED_GROUPED_SEEDS:
            for groups in SCORED_GROUPS:
                of_image = grouped_images(groups)
                found = scored_coverage(GROUPED_WORLDS[name], seeds, len(of_image), simulations // 8, of_image)
                for score, of_score in found.items():
                    yield f"{score} on groups", name, seeds, groups, of_score


TITLES = {
    "accuracy": "Accuracy, every seed tested on the same images",
    "folds": f"Accuracy in a {FOLDS}-fold cross-validation (images: all folds together)",
    "balanced_accuracy": "Balanced accuracy, crossed bootstrap",
    "roc_auc": "ROC AUC, crossed bootstrap",
    "macro_f1": "Macro F1, crossed bootstrap",
    "log_loss": "Log loss, crossed bootstrap (half-widths in nats)",
    "calibration_error": "Expected calibration error, crossed bootstrap",
    "accuracy on groups": "Accuracy, test images in groups (images: groups)",
    "balanced_accuracy on groups": "Balanced accuracy, test images in groups (images: groups)",
    "roc_auc on groups": "ROC AUC, test images in groups (images: groups)",
    "macro_f1 on groups": "Macro F1, test images in groups (images: groups)",
    "log_loss on groups": "Log loss, test images in groups (images: groups)",
    "calibration_error on groups": "Expected calibration error, test images in groups (images: groups)",
}

HEAD = """\
# How often the intervals hold the truth

Simulated cells with a known truth: correct = [mu + image + seed + cell's own image and seed + noise > 0],
images and seeds shared by the two cells of a pair (`worlds.py`). {simulations} simulations a
line (half of that for cross-validations, the bootstrap and groups, an eighth for the bootstrap of groups), so that a
share of 95 % is known to ± {error:.1f} points (± {half_error:.1f} where half, ± {eighth_error:.1f} where an eighth).
Half-widths are medians, in percent points. "Above zero" and "below zero": intervals of the difference that lie there;
in worlds without a difference each is the rate of a wrong verdict in that direction, and a claim is supported by one
direction alone. "Images that differ": those on which the two cells differ in any seed, median. Below three seeds the
report gives no verdict.

Aimed at are 92 to 98 % for differences from three seeds on, 90 to 98 % for cells from five. No line of the first table
lies below. Above lie those in which few images tell the cells apart. That is in the nature of counts: where two cells
differ on k images, the smallest two-sided p-value of an exact paired test (McNemar) is 2 / 2^k, above 5 % up to k = 5,
so that an interval which agrees with it always holds zero; from k = 6 to 20 the test errs in 0.8 to 4.9 % of worlds
without a difference, not in 5. Below {few} such images the rule of three takes over
(`benchmark/analysis/uncertainty/interval.py`). It has to hold in the worlds in which one cell errs on 1 or 2 % of the
images and the other on none; from three seeds on
such intervals cover 98 to 100 %. One line more lies above, by less than its error (no difference, four seeds, 128).

The bootstrap's intervals of macro F1 and log loss cover 93 to 98 % for differences from three seeds on, 91 to 100 % for
cells from five; those of the calibration error, which is biased on few images, 92 to 99 % and 90 to 100 %.

The last tables are of test images in groups of 5 to 35 images (`GROUPED_WORLDS`), "images" being the number of groups.
Differences are covered in 94 to 100 % from three seeds on, but in one world: where both cells are near the ceiling and
differ on a few groups that many test sets do not hold, 84 to 94 % from 12 groups on. There the size of the difference
is underestimated, its sign is not. Cells are covered in 87 to 100 % from five seeds on. The bootstrap's intervals lie
lower where few groups decide: down to 86 % for differences, to 81 % for the log loss of a cell. With images as units
the same data give far too many verdicts: `tests/analysis/test_interval_coverage.py` counts them.

This file is written by

```
python -m experiments.studies.interval_coverage {simulations}
```
"""


def table(rows: list[Row]) -> list[str]:
    """Return one table of the file, as Markdown."""
    lines = [
        "| world | seeds | images | difference covered % | ± | above zero % | below zero % | images that differ "
        "| cell covered % | ± |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for _, name, seeds, images, c in rows:
        shares = (100 * c.difference, 100 * c.half_width, 100 * c.supported, 100 * c.contradicted)
        numbers = [
            *(f"{x:.1f}" for x in shares),
            f"{c.informative:.0f}",
            f"{100 * c.cell:.1f}",
            f"{100 * c.cell_half_width:.1f}",
        ]
        lines.append(f"| {name} | {seeds} | {images} | {' | '.join(numbers)} |")
    return lines


def outside(rows: list[Row]) -> list[str]:
    """Return the designs on accuracy that cover less than the file's head says, or give too many wrong verdicts."""
    lowest = {"accuracy": 0.92, "folds": 0.90, "accuracy on groups": 0.94}
    found = []
    for what, name, seeds, images, c in rows:
        if what in lowest and seeds >= 3:
            least = 0.84 if name == "near the ceiling, groups differ" else lowest[what]
            wrong = max(c.supported, c.contradicted) if "no difference" in name else 0.0
            if c.difference < least or wrong > 0.05 or (what == "accuracy" and seeds >= 5 and c.cell < 0.90):
                found.append(f"{what}, {name}, {seeds} seeds, {images}: {c}")
    return found


def main() -> None:
    """Simulate every design and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("simulations", nargs="?", type=int, default=4000, help="per design; default 4000")
    simulations = parser.parse_args().simulations
    rows = []
    for row in designs(simulations):
        rows.append(row)
        sys.stderr.write(f"{row[0]} {row[1]} {row[2]} {row[3]}: {row[4].difference:.3f} {row[4].cell:.3f}\n")
    error = 100 * float(np.sqrt(0.95 * 0.05 / simulations)) * 2
    text = [
        HEAD.format(
            simulations=simulations, error=error, half_error=error * 2**0.5, eighth_error=error * 8**0.5, few=FEW_IMAGES
        )
    ]
    for what, title in TITLES.items():
        text += [f"## {title}", "", *table([row for row in rows if row[0] == what]), ""]
    Path(__file__).with_suffix(".md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    if strange := outside(rows):
        raise SystemExit("outside of the bands:\n" + "\n".join(strange))


if __name__ == "__main__":
    main()
