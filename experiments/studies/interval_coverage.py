"""How often the intervals contain the truth, and how often a report is wrong, by simulation.

``python -m experiments.studies.interval_coverage [SIMULATIONS]`` (default 2000 per design; a quarter of an hour of one
core) writes ``interval_coverage.md`` next to this file, and fails where a result leaves the bands of `outside`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import optimize, special

from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.differences import Difference
from benchmark.analysis.scores import SCORES, quality
from benchmark.analysis.uncertainty import bootstrap
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE
from benchmark.analysis.uncertainty.interval import FEW_IMAGES, Interval
from benchmark.analysis.uncertainty.pooling import pool
from benchmark.analysis.verdicts import judge_in_order
from benchmark.matrix.run_spec import Setup
from experiments.studies.batch import Estimates, Layout, estimates, own_numbers
from experiments.studies.worlds import EIGHT, GROUPED_WORLDS, ONE_SIDED, UNLIKE, WORLDS, World

SEEDS = (3, 5, 10)
IMAGES = (128, 372, 1500)
MOST_VALUES = 8000
"""Of a cell; larger designs would take most of the time."""

GROUPS = (12, 39)
FOLDS = 5
FOLD_IMAGES = (30, 100, 300)
CLASSES = 3
SMALLEST_GROUP, LARGEST_GROUP = 5, 35
AT_A_TIME = 1e6
"""Values of one draw: 8 MB as float64."""


def images(number: int, folds: int | None = None) -> Layout:
    """Return images of three classes, each its own unit."""
    return Layout(np.sort(np.arange(number) % CLASSES), folds=folds)


def grouped(groups: int, folds: int | None = None) -> Layout:
    """Return images in groups of 5 to 35, 20 on average, a third of the groups in each class."""
    sizes = np.linspace(SMALLEST_GROUP, LARGEST_GROUP, groups // CLASSES).round().astype(np.int64)
    of_image = np.repeat(np.arange(CLASSES * len(sizes)), np.tile(sizes, CLASSES))
    return Layout(of_image // len(sizes), of_image, folds)


def comparisons(cells: int) -> np.ndarray:
    """Return coefficients of cells: two pairs of pretrained cells, one pair, one with a cell from scratch, two with."""
    found = np.zeros((4, cells))
    found[0, :4] = 0.5, -0.5, 0.5, -0.5
    found[1, :2] = 1, -1
    found[2, [0, -1]] = 1, -1
    found[3, [0, 1, -2, -1]] = 0.5, 0.5, -0.5, -0.5
    return found


@dataclass(frozen=True)
class Coverage:
    """Shares of simulations, means over the comparisons; half-widths in points.

    Attributes:
        holds: of intervals that hold the truth.
        narrowest: of the narrowest fifth of a comparison's intervals.
        half_width: median.
        narrower: median half-width as a share of that from the comparison's own seeds alone, as in version 1.
        own_holds, own_narrowest: as ``holds`` and ``narrowest``, of these.
        cell: of the cells' intervals.
        telling: images, or groups, on which a pair of pretrained cells differs in any seed, median.
    """

    holds: float
    narrowest: float
    half_width: float
    narrower: float
    own_holds: float
    own_narrowest: float
    cell: float
    informative: float


def coverage(world: World, seeds: int, layout: Layout, simulations: int) -> Coverage:
    """Simulate test sets and count how often intervals hold the truth."""
    random = np.random.default_rng([layout.folds or 0, seeds, len(layout.labels)])
    contrasts = comparisons(len(world.mu))
    crossed = layout.folds is None and layout.groups is None
    found: dict[str, list[np.ndarray]] = {}
    for number in _batches(simulations, len(world.mu) * seeds * len(layout.labels)):
        margins, truth = world.draw(number, seeds, layout, random)
        right = (margins > 0).astype(np.float64)
        new, cells = estimates(right, layout, world.kinds, contrasts)
        old = own_numbers(right, contrasts) if crossed else new
        informative = (right[:, 0] != right[:, 1]).any(axis=1).sum(axis=1)
        for name, values in {
            "holds": _holds(new, truth @ contrasts.T),
            "half": new.half_width,
            "own_holds": _holds(old, truth @ contrasts.T),
            "own_half": old.half_width,
            "cell": _holds(cells, truth),
            "informative": informative,
        }.items():
            found.setdefault(name, []).append(values)
    every = {name: np.concatenate(values) for name, values in found.items()}
    halves = np.median(every["half"], axis=0), np.median(every["own_half"], axis=0)
    return Coverage(
        holds=float(every["holds"].mean()),
        narrowest=_narrowest(every["holds"], every["half"]),
        half_width=float(100 * halves[0].mean()),
        narrower=float((halves[0] / halves[1]).mean()),
        own_holds=float(every["own_holds"].mean()),
        own_narrowest=_narrowest(every["own_holds"], every["own_half"]),
        cell=float(every["cell"].mean()),
        informative=float(np.median(every["informative"])),
    )


def _batches(simulations: int, values: int) -> Iterator[int]:
    at_a_time = max(1, int(AT_A_TIME / values))
    for done in range(0, simulations, at_a_time):
        yield min(at_a_time, simulations - done)


def _holds(found: Estimates, truth: np.ndarray) -> np.ndarray:
    return (found.low <= truth) & (truth <= found.high)


def _narrowest(holds: np.ndarray, half: np.ndarray) -> float:
    """Return the share of the narrowest fifth, the mean over comparisons; among equal widths all count alike."""
    shares = []
    for own, widths in zip(holds.T, half.T, strict=True):
        at_most = np.sort(widths)[len(widths) // 5]
        shares.append(own[widths <= at_most * (1 + 1e-12)].mean())
    return float(np.mean(shares))


MARGIN = 0.02
"""Margin of equivalence in simulated reports: with one point, few of so few images would show equivalence."""

TITLES = ("A", "B", "C", "D")
MODES, POLICIES = ("3", "1"), ("finetune", "whole", "scratch")


@dataclass(frozen=True)
class Report:
    """A kind of report: what it compares and how large the differences are.

    Attributes:
        pretraining: true difference to scratch, shares of right images.
        channels: between the two modes.
        stages: between the two pretrained policies.
        datasets: number of them.
    """

    pretraining: float
    channels: float
    stages: float
    datasets: int


REPORTS = {
    "nothing differs, 2 datasets": Report(0.0, 0.0, 0.0, 2),
    "nothing differs, 4 datasets": Report(0.0, 0.0, 0.0, 4),
    "all differ by the margin, 2 datasets": Report(MARGIN, MARGIN, MARGIN, 2),
    "all differ by the margin, 4 datasets": Report(MARGIN, MARGIN, MARGIN, 4),
    "pretraining helps, the rest is equal, 3 datasets": Report(0.1, 0.0, 0.0, 3),
    "pretraining helps, the rest differs by the margin, 3 datasets": Report(0.1, MARGIN, MARGIN, 3),
}


@dataclass(frozen=True)
class Verdicts:
    """Shares of reports.

    Attributes:
        wrong: with a wrong verdict anywhere: a difference where there is none or the other way, or equivalence where
            the difference is at least the margin.
        any: with a verdict.
        rows: judged rows that have one, a mean over reports.
    """

    wrong: float
    any: float
    rows: float


def verdicts(report: Report, seeds: int, layout: Layout, simulations: int) -> Verdicts:
    """Simulate reports of three questions and judge their rows with `benchmark.analysis.verdicts.judge_in_order`."""
    random = np.random.default_rng([5, seeds, len(layout.labels), report.datasets])
    names, contrasts = rows_of_a_dataset()
    base, counts = World(EIGHT[:6], spread=0.3, scratch=1.5), np.zeros(3)
    mu = mu_of(base, report, layout)
    for number in _batches(simulations, 6 * seeds * len(layout.labels)):
        sets = []
        for _ in range(report.datasets):
            margins, truth = replace(base, mu=mu, spread=0.3).draw(number, seeds, layout, random)
            right = (margins > 0).astype(np.float64)
            sets.append((estimates(right, layout, base.kinds, contrasts)[0], truth @ contrasts.T))
        for k in range(number):
            counts += _judged(names, [(_at(found, k), truth[k]) for found, truth in sets], seeds, layout)
    return Verdicts(*(counts / simulations).tolist())


Row = tuple[str, str, str, bool]
"""Question, comparison, place, headline."""


def rows_of_a_dataset() -> tuple[list[Row], np.ndarray]:
    """Return the rows of one dataset and their coefficients of the cells (policy by policy, each in both modes)."""
    cell = {(mode, policy): 2 * p + m for p, policy in enumerate(POLICIES) for m, mode in enumerate(MODES)}
    rows: list[tuple[Row, list[tuple[tuple[str, str], tuple[str, str]]]]] = []
    for question, first, second in (
        ("pretraining", "finetune", "scratch"),
        ("pretraining", "whole", "scratch"),
        ("stages", "finetune", "whole"),
    ):
        pairs = [((mode, first), (mode, second)) for mode in MODES]
        rows.append(((question, f"{first} - {second}", "mean", True), pairs))
        rows += [((question, f"{first} - {second}", pair[0][0], False), [pair]) for pair in pairs]
    pairs = [(("3", policy), ("1", policy)) for policy in POLICIES]
    rows.append((("channels", "3 - 1", "mean", True), pairs[:2]))
    rows += [(("channels", "3 - 1", pair[0][1], False), [pair]) for pair in pairs]
    coefficients = np.zeros((len(rows), len(cell)))
    for own, (_, of_row) in zip(coefficients, rows, strict=True):
        for first_cell, second_cell in of_row:
            own[cell[first_cell]] += 1 / len(of_row)
            own[cell[second_cell]] -= 1 / len(of_row)
    return [row for row, _ in rows], coefficients


def mu_of(base: World, report: Report, layout: Layout) -> tuple[float, ...]:
    """Return the cells' mu at which their accuracies differ as the report says, whatever the runs' sd."""
    scale = np.sqrt(1 + base.image**2 + base.own_image**2 + base.run_class**2 + base.run**2)
    share = np.bincount(layout.labels) / len(layout.labels)

    def mu(accuracy: float) -> float:
        def beyond(value: float) -> float:
            return float((special.ndtr((value + np.asarray(base.classes)) / scale) * share).sum()) - accuracy

        return float(optimize.brentq(beyond, -20, 20))

    found = []
    for policy in POLICIES:
        level = 0.8 - (report.stages if policy == "whole" else 0.0) - (report.pretraining if policy == "scratch" else 0)
        found += [mu(level), mu(level - report.channels)]
    return tuple(found)


def _at(found: Estimates, k: int) -> list[tuple[float, float, float, float, float]]:
    arrays = (found.mean, found.low, found.high, found.error, found.df)
    return list(zip(*(array[k].tolist() for array in arrays), strict=True))


def _judged(
    names: Sequence[Row],
    sets: Sequence[tuple[list[tuple[float, float, float, float, float]], np.ndarray]],
    seeds: int,
    layout: Layout,
) -> np.ndarray:
    """Return whether a verdict of a report is wrong, whether it has any, and how many rows have."""
    setup, truths = Setup("model", 64), {}
    rows: dict[str, list[Difference]] = {}
    for title, (found, truth) in zip(TITLES, sets, strict=False):
        for name, numbers, true in zip(names, found, truth.tolist(), strict=True):
            question, compared, place, headline = name
            contrast = Contrast("channels", title, setup, compared, "", place, (), headline)
            interval = Interval(*numbers, seeds=seeds, images=len(layout.labels), basis="seeds and images")
            rows.setdefault(question, []).append(Difference(contrast, interval, tuple(range(seeds)), seeds, MARGIN))
            truths[question, title, compared, place] = true
    wrong, number = False, 0
    for question, own in rows.items():
        heads: dict[str, list[Difference]] = {}
        for each in own:
            if each.contrast.headline:
                heads.setdefault(each.contrast.first, []).append(each)
        pooled = []
        for compared, of in heads.items():
            mean = pool([each.interval for each in of if each.interval is not None])
            pooled.append(
                replace(of[0], contrast=replace(of[0].contrast, dataset="mean"), interval=mean, pooled=tuple(of))
            )
            true = [truths[question, each.contrast.dataset, compared, "mean"] for each in of]
            truths[question, "mean", compared, "mean"] = float(np.mean(true))
        for each in judge_in_order([*own, *pooled], SIGNIFICANCE / len(rows)):
            if each.has_verdict:
                number += 1
                c = each.contrast
                true = truths[question, c.dataset, c.first, c.context]
                wrong |= each.sign != 0 and each.sign * true <= 1e-9
                wrong |= each.is_equivalent and abs(true) >= MARGIN - 1e-9
    return np.array([wrong, number > 0, number], dtype=float)


def scored_coverage(
    world: World, seeds: int, layout: Layout, simulations: int
) -> dict[str, tuple[float, float, float]]:
    """Return the coverage of differences and of cells by the crossed bootstrap, and a half-width, for each score.

    The truth is the mean of the scores over all simulations: a calibration error on few images is biased upward, and
    its interval is about what such a test set shows on average.
    """
    random = np.random.default_rng([3, seeds, len(layout.labels)])
    pair = replace(world, mu=world.mu[:: len(world.mu) - 1], spread=0.0)
    units, label = as_groups(layout.groups), layout.labels
    counts = bootstrap.resample_counts(len(label), units)
    points, intervals = [], []
    for _ in range(simulations):
        margins = pair.draw(1, seeds, layout, random)[0][0].astype(np.float64)
        runs = [[quality(label, *_predicted(row, label), counts) for row in cell] for cell in margins]
        scores = np.array([[run.scores for run in cell] for cell in runs])
        resampled = np.array([[run.resampled for run in cell] for cell in runs])
        wrong = int(np.count_nonzero((margins[0] <= 0).any(axis=0)))
        informative = int(np.count_nonzero(((margins[0] > 0) != (margins[1] > 0)).any(axis=0)))
        apart = (scores[0] - scores[1], resampled[0] - resampled[1], informative), (scores[0], resampled[0], wrong)
        points.append([own.mean(axis=0) for own, _, _ in apart])
        intervals.append(
            [
                [
                    bootstrap.mean_score(
                        own[:, k].tolist(),
                        drawn[:, k],
                        len(label),
                        None,
                        None if name in ("log_loss", "calibration_error") else few,
                        units,
                    )
                    for k, name in enumerate(SCORES)
                ]
                for own, drawn, few in apart
            ]
        )
    truth = np.mean(points, axis=0)
    found = {}
    for k, name in enumerate(SCORES):
        shares = [np.mean([_inside(of[w][k], truth[w, k]) for of in intervals]) for w in range(2)]
        half = float(np.median([of[0][k].half_width or np.nan for of in intervals]))
        found[name] = (float(shares[0]), float(shares[1]), 100 * half)
    return found


def _inside(interval: Interval, truth: float) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


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


Line = tuple[str, int, int, Coverage]
"""World, seeds, images or groups, coverage."""


def covered(simulations: int) -> dict[str, list[Line]]:
    """Simulate the designs on accuracy, by table."""
    found: dict[str, list[Line]] = {"images": [], "groups": [], "folds": [], "unlike": []}

    def add(table: str, name: str, world: World, seeds: int, number: int, layout: Layout) -> None:
        own = coverage(world, seeds, layout, simulations)
        found[table].append((name, seeds, number, own))
        sys.stderr.write(f"{table}, {name}, {seeds}, {number}: {own.holds:.3f} {own.narrowest:.3f}\n")

    for name, world in WORLDS.items():
        for seeds in SEEDS:
            for number in IMAGES:
                if seeds * number <= MOST_VALUES:
                    add("images", name, world, seeds, number, images(number))
    for name, world in GROUPED_WORLDS.items():
        for seeds in SEEDS:
            for number in GROUPS:
                add("groups", name, world, seeds, number, grouped(number))
    for name in FOLDED_WORLDS:
        for seeds in SEEDS:
            for number in FOLD_IMAGES:
                add("folds", name, WORLDS[name], seeds, number * FOLDS, images(number, FOLDS))
    name = "groups differ"
    for seeds in SEEDS:
        add("folds", f"{name}, 12 groups per fold", GROUPED_WORLDS[name], seeds, 240 * FOLDS, grouped(12, FOLDS))
        add("unlike", "runs vary differently, one cell's much more", UNLIKE, seeds, 372, images(372))
    return found


FOLDED_WORLDS = ("runs vary differently", "runs vary little", "runs vary much", "near the ceiling")

SCORED = (
    *(("runs vary differently", seeds, images(number)) for seeds, number in ((3, 128), (3, 372), (5, 128))),
    ("near the ceiling", 3, images(372)),
    ("groups differ", 3, grouped(12)),
    ("groups differ", 3, grouped(39)),
)

HEAD = """\
# How often the intervals hold the truth

Simulated datasets with a known truth ([worlds.py](worlds.py)): eight cells if not said otherwise, two of them from
scratch, right = [mu + class + image + run + noise > 0], images shared by the cells, {simulations} simulations a line.
A line is the mean over four comparisons: of two pretrained cells, of two pairs of them, of a pretrained cell and one
from scratch, of two such pairs. A share of 95 % is known to ± {error:.1f} points or better, that of the narrowest fifth
of a comparison's intervals, which gives the verdicts, to ± {fifth:.1f}. Half-widths are medians, in percent points;
"of version 1's": as a share of the half-width that version 1 computed from the comparison's own seeds alone. "Images
that differ": on which two pretrained cells differ in any seed, median. Below three seeds the report gives no verdict.

{summary}

What discreteness forbids: where two cells differ on k images, the smallest two-sided p-value of an exact paired test
(McNemar) is 2 / 2^k, above 5 % up to k = 5, so that an interval which agrees with it always holds zero. Below {few}
images that differ the rule of three takes over (`benchmark/analysis/uncertainty/interval.py`), and intervals of the
worlds near and at the ceiling cover up to 100 %. Where one cell never errs and another on 2 % of the images, the
difference is a count, whose variance is small where it is small by chance: its narrowest fifth covers 71 to 85 % once
the rule of three has ended, as in version 1.

The narrowest fifth of the intervals of an exact t-test covers 80.7 % with 4 degrees of freedom, 84.9 % with 8, 86.9 %
with 12 and 88.1 % with 16 (two million draws): few cells of three seeds cannot do better where runs decide. The lines
of the first table below 85 % are of these, but for the counts above: two cells from scratch are a kind of their own
with 4 degrees of freedom, four pretrained ones have 8. Of groups it is the world near the ceiling with 12 groups, few
of which decide.

In a cross-validation the images of a fold are the same for all cells, so that the cells' variances between folds are
not independent. That is allowed for in the degrees of freedom, but where the runs' part is small against what a fold's
images do, the narrowest fifth covers less; so do folds that are used twice (10 seeds).

Moderation takes the cells of a dataset for alike. Comparisons with one cell whose runs vary four times as much as the
others' are covered less (the last table on accuracy), the more so the fewer the seeds. `runs.parquet` has the accuracy
of each run, in which such a cell can be seen.

This file is written by

```
python -m experiments.studies.interval_coverage {simulations}
```
"""

COLUMNS = {
    "images": "images",
    "groups": "groups",
    "folds": "images of all folds",
    "unlike": "images",
}
COVERED = {
    "images": "Accuracy, every seed tested on the same images",
    "groups": "Accuracy, test images in groups of 5 to 35",
    "folds": f"Accuracy in a {FOLDS}-fold cross-validation",
    "unlike": "Accuracy, comparisons with a cell whose runs vary four times as much as the others'",
}


def table(what: str, lines: Sequence[Line]) -> list[str]:
    """Return one table on accuracy, as Markdown."""
    old = what == "images"
    columns = ["world", "seeds", COLUMNS[what], "differences covered %", "narrowest fifth %", "±"]
    columns += ["of version 1's", "version 1 covered %", "its narrowest fifth %"] if old else []
    columns += ["cells covered %", "images that differ"]
    rows = []
    for name, seeds, number, c in lines:
        own = [f"{c.narrower:.2f}", f"{100 * c.own_holds:.1f}", f"{100 * c.own_narrowest:.1f}"] if old else []
        shares = [f"{100 * c.holds:.1f}", f"{100 * c.narrowest:.1f}", f"{c.half_width:.1f}"]
        rows.append([name, f"{seeds}", f"{number}", *shares, *own, f"{100 * c.cell:.1f}", f"{c.informative:.0f}"])
    marks = [":---", *["---:"] * (len(columns) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (columns, marks, *rows)]


def summary(found: dict[str, list[Line]], wrong: Sequence[tuple[str, int, Verdicts]]) -> list[str]:
    """Return sentences on all lines."""
    sentences = []
    for what, lines in found.items():
        every = [c for *_, c in lines]
        holds, narrowest = [c.holds for c in every], [c.narrowest for c in every]
        sentences.append(
            f"- {COVERED[what]}: differences are covered in {100 * np.mean(holds):.1f} % on average "
            f"({100 * min(holds):.1f} to {100 * max(holds):.1f}), the narrowest fifth in "
            f"{100 * np.mean(narrowest):.1f} % "
            f"({100 * min(narrowest):.1f} at least), cells in {100 * np.mean([c.cell for c in every]):.1f} %."
        )
    three = [c for _, seeds, _, c in found["images"] if seeds == 3]
    sentences.append(
        f"- At three seeds half-widths are {np.median([c.narrower for c in three]):.2f} of version 1's in the median, "
        f"whose narrowest fifth covered {100 * np.mean([c.own_narrowest for c in three]):.1f} % "
        f"({100 * min(c.own_narrowest for c in three):.1f} at least)."
    )
    worst = max(wrong, key=lambda line: line[2].wrong)
    sentences.append(
        f"- A wrong verdict is in at most {100 * worst[2].wrong:.1f} % of reports ({worst[0]}, {worst[1]} seeds)."
    )
    return sentences


def outside(found: dict[str, list[Line]], wrong: Sequence[tuple[str, int, Verdicts]]) -> list[str]:
    """Return what leaves the bands that the intervals are meant to keep."""
    strange = []
    for what, lines in found.items():
        least, narrow = {
            "images": (0.935, 0.83),
            "groups": (0.935, 0.83),
            "folds": (0.92, 0.78),
            "unlike": (0.85, 0.66),
        }[what]
        mean = float(np.mean([c.holds for *_, c in lines]))
        if what != "unlike" and not 0.93 <= mean <= 0.97:
            strange.append(f"{what}: {mean:.3f} on average")
        strange += [
            f"{what}: {line}"
            for line in lines
            if line[3].holds < (0.93 if line[0] == ONE_SIDED else least)
            or line[3].narrowest < (0.70 if line[0] == ONE_SIDED else narrow)
        ]
    if np.median([c.narrower for _, seeds, _, c in found["images"] if seeds == 3]) > 0.75:
        strange.append("half-widths at three seeds are not a quarter narrower than version 1's")
    return strange + [f"{line}" for line in wrong if line[2].wrong > SIGNIFICANCE]


def main() -> None:
    """Simulate every design and write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("simulations", nargs="?", type=int, default=2000, help="per design; default 2000")
    simulations = parser.parse_args().simulations
    found = covered(simulations)
    wrong = [
        (name, seeds, verdicts(report, seeds, images(372), simulations))
        for name, report in REPORTS.items()
        for seeds in (3, 10)
    ]
    sys.stderr.write("\n".join(map(str, wrong)) + "\n")
    error, fifth = (200 * float(np.sqrt(p * (1 - p) / n)) for p, n in ((0.95, simulations), (0.88, simulations / 5)))
    text = [
        HEAD.format(
            simulations=simulations, error=error, fifth=fifth, few=FEW_IMAGES, summary="\n".join(summary(found, wrong))
        )
    ]
    for what, lines in found.items():
        text += [f"## {COVERED[what]}", "", *table(what, lines), ""]
    text += [
        "## Reports",
        "",
        f"Three questions, six cells per dataset, 372 images, a margin of {100 * MARGIN:g} points; rows are judged by",
        "`benchmark.analysis.verdicts.judge_in_order`. Wrong: a difference where there is none or the other way, or",
        "equivalence where the difference is the margin.",
        "",
        "| report | seeds | a wrong verdict % | any verdict % | rows with a verdict |",
        "| :--- | ---: | ---: | ---: | ---: |",
        *(f"| {name} | {s} | {100 * v.wrong:.1f} | {100 * v.any:.1f} | {v.rows:.1f} |" for name, s, v in wrong),
        "",
        "## Other scores, crossed bootstrap",
        "",
        f"{simulations // 5} simulations a line; variances are not moderated. Half-widths of log loss: hundredths of a",
        "nat.",
        "",
        "| score | world | seeds | images | groups | difference covered % | ± | cell covered % |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    scored = []
    for name, seeds, layout in SCORED:
        world = (WORLDS | GROUPED_WORLDS)[name]
        for score, (difference, cell, half) in scored_coverage(world, seeds, layout, simulations // 5).items():
            groups = "" if layout.groups is None else layout.units
            numbers = (
                f"{seeds} | {len(layout.labels)} | {groups} | {100 * difference:.1f} | {half:.1f} | {100 * cell:.1f}"
            )
            scored.append((SCORES.index(score), f"| {score.replace('_', ' ')} | {name} | {numbers} |"))
    text += [line for _, line in sorted(scored, key=lambda line: line[0])]
    Path(__file__).with_suffix(".md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    if strange := outside(found, wrong):
        raise SystemExit("outside of the bands:\n" + "\n".join(strange))


if __name__ == "__main__":
    main()
