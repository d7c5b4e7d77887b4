"""Data of the figures made of numbers; `benchmark.report.figures.draw` draws them."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.analysis.contrasts import QUESTIONS
from benchmark.analysis.differences import Difference
from benchmark.analysis.floor import best_floor
from benchmark.analysis.results import Cell, Results
from benchmark.matrix.run_spec import Setup
from benchmark.report.figures import draw
from benchmark.report.figures.picture import Picture
from benchmark.report.tables import place_in_words
from benchmark.words import count, listed

DECIMALS = 5
"""Decimals of shares and losses in a figure's data."""

MOST_CLASSES = 10
"""Largest number of classes that a confusion matrix can show with readable numbers."""

CELLS_DRAWN = 40
"""Number of cells with learning curves, confusion matrices and images; the tables have all."""


def make_pictures(results: Results, found: Sequence[Difference]) -> list[Picture]:
    """Return the report's charts, by setup."""
    made: list[Picture | None] = []
    drawn = choose_drawn(results)
    for setup in results.matrix.setups:
        if cells := results.done_cells(setup=setup):
            own = [difference for difference in found if difference.contrast.setup == setup]
            made += [_accuracy(cells, setup, results), _forest(own, setup, results), _cost(cells, setup, results)]
        for dataset in (dataset for dataset, other in drawn if other == setup):
            made += [_curves(dataset, setup, results), _confusion(dataset, setup, results)]
    return [picture for picture in made if picture is not None]


def _done_pairs(results: Results) -> list[tuple[str, Setup]]:
    """Return the (dataset, setup) pairs with a done run, by setup, in the matrix's order."""
    return [(d, s) for s in results.matrix.setups for d in results.datasets if results.done_cells(d, s)]


def choose_drawn(results: Results) -> list[tuple[str, Setup]]:
    """Return the (dataset, setup) pairs that have their own figures: the first one, and more up to `CELLS_DRAWN`."""
    pairs = _done_pairs(results)
    totals = itertools.accumulate(len(results.done_cells(*pair)) for pair in pairs)
    fitting = [pair for pair, total in zip(pairs, totals, strict=True) if total <= CELLS_DRAWN]
    return fitting or pairs[:1]


def describe_drawn(results: Results) -> str:
    """Return a sentence on the datasets that have their own figures, empty if all have."""
    every, chosen = _done_pairs(results), choose_drawn(results)
    if len(chosen) == len(every):
        return ""
    names = [place_in_words(results, *pair) for pair in chosen]
    return (
        f"Learning curves, confusion matrices and images are drawn for at most {CELLS_DRAWN} cells: here for "
        f"{listed(names)}, {len(chosen)} of {len(every)}. The tables and `runs.parquet` have all."
    )


def file_name(kind: str, setup: Setup, results: Results, dataset: str | None = None) -> str:
    """Return the file name, without extension, of the figure of a kind for one setup, and for one dataset if given."""
    of_dataset = "" if dataset is None else f"-{slug(dataset)}"
    parts = [f"--{slug(part.replace(' ', '-'))}" for part in results.matrix.varying_parts(setup).values()]
    return "".join([kind, of_dataset, *parts])


def _accuracy(cells: Sequence[Cell], setup: Setup, results: Results) -> Picture:
    return Picture(
        name=file_name("accuracy", setup, results),
        section="accuracy",
        title=results.matrix.add_setup("Test accuracy by policy and input mode", setup),
        caption="Points: means over seeds. Bars: 95 % intervals for seeds and test images (dotted: one seed, images "
        "alone). Cells whose bars overlap may still differ: see the paired differences. Dashed: the best floor row. "
        "Thin: the most frequent class.",
        data=_panels(results, [_point(cell) for cell in cells]) | {"floor": _floor_lines(cells, results)},
        draw=draw.accuracy,
    )


def _floor_lines(cells: Sequence[Cell], results: Results) -> list[dict[str, Any]]:
    """Return the best floor row of each dataset in a figure, and the majority's row where that is another."""
    lines = []
    for dataset in dict.fromkeys(cell.key.dataset for cell in cells):
        best = best_floor(dataset, results.floor)
        for floor in results.floor:
            if floor.dataset == dataset and floor.is_complete and (floor is best or floor.method == "majority"):
                mean = _round(floor.mean("test.accuracy"))
                lines.append({"dataset": dataset, "method": floor.method, "mean": mean, "best": floor is best})
    return lines


def _panels(results: Results, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the data of a figure with one panel per dataset: the points, and the names in them in order."""

    def occurring(key: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if any(point[key] == name for point in points)]

    return {
        "policies": occurring("policy", results.matrix.policies),
        "modes": occurring("mode", results.matrix.input_modes),
        "datasets": occurring("dataset", results.datasets),
        "cells": points,
    }


def _point(cell: Cell) -> dict[str, Any]:
    assert cell.accuracy is not None
    key = cell.key
    ends = {end: _round(getattr(cell.accuracy, end)) for end in ("mean", "low", "high")}
    names = {"dataset": key.dataset, "mode": key.input_mode, "policy": key.policy}
    return {**names, **ends, "seeds": cell.accuracy.seeds}


def _forest(found: Sequence[Difference], setup: Setup, results: Results) -> Picture | None:
    rows = [
        {
            "question": QUESTIONS[d.contrast.family],
            "dataset": d.contrast.dataset,
            "text": f"{d.contrast.first} − {d.contrast.second}",
            "context": d.contrast.context,
            "headline": d.contrast.headline,
            "mean": _round(d.interval.mean),
            "half_width": _round(d.interval.half_width),
            "seeds": d.interval.seeds,
            "sign": d.sign,
        }
        for d in found
        if d.interval is not None and d.contrast.headline
    ]
    if not rows:
        return None
    return Picture(
        name=file_name("differences", setup, results),
        section="differences",
        title=results.matrix.add_setup("Paired differences that answer the questions", setup),
        caption="Mean difference in test accuracy on the same seeds and the same images, with its 95 % interval. "
        "Filled: shown to differ. Hollow: equivalent, inconclusive, not judged, or too few seeds for a verdict.",
        data=rows,
        draw=draw.forest,
    )


def _cost(cells: Sequence[Cell], setup: Setup, results: Results) -> Picture | None:
    times = [(cell, cell.mean_time("train_seconds")) for cell in cells]
    points = [_point(cell) | {"seconds": round(time.value, 2)} for cell, time in times if time and not time.bound]
    if not points:
        return None
    left_out = len(cells) - len(points)
    return Picture(
        name=file_name("time", setup, results),
        section="cost",
        title=results.matrix.add_setup("Test accuracy against training time", setup),
        caption="Seconds of training steps, mean over the done runs that did not wait for a processor, without "
        "evaluation and loading. Bars: 95 % intervals of the accuracy, over all done seeds. Times on different "
        "hardware are not comparable."
        + (f" Not drawn: {count(left_out, 'cell')} in which every run waited." if left_out else ""),
        data=_panels(results, points) | {"policies": list(results.matrix.policies)},  # markers depend on all of them
        draw=draw.cost,
    )


def _curves(dataset: str, setup: Setup, results: Results) -> Picture:
    data = [
        {
            "mode": cell.key.input_mode,
            "policy": cell.key.policy,
            "seeds": len(cell.seeds),
            "train_loss": _band(cell, "train_loss"),
            "val_accuracy": _band(cell, "val_accuracy"),
        }
        for cell in results.done_cells(dataset, setup)
    ]
    return Picture(
        name=file_name("curves", setup, results, dataset),
        section="curves",
        title=results.matrix.add_setup(f"Learning curves on {dataset}", setup),
        caption="Lines: means over seeds, up to the end of the cell's shortest run. Bands: lowest to highest seed.",
        data=data,
        draw=draw.curves,
    )


def _confusion(dataset: str, setup: Setup, results: Results) -> Picture | None:
    """Return the confusion matrices of a dataset's cells, or None if there are too many classes to read."""
    cells = results.done_cells(dataset, setup)
    classes = cells[0].classes
    if len(classes) > MOST_CLASSES:
        return None
    return Picture(
        name=file_name("confusion", setup, results, dataset),
        section="confusion",
        title=results.matrix.add_setup(f"Confusion on the test images of {dataset}", setup),
        caption="Percentage of the images of a true class (row) that were predicted as a class (column), over all done "
        f"seeds. Datasets of more than {MOST_CLASSES} classes have the table of recalls only.",
        data={
            "classes": list(classes),
            "cells": [
                {"mode": c.key.input_mode, "policy": c.key.policy, "counts": c.confusion.tolist()} for c in cells
            ],
        },
        draw=draw.confusion,
    )


def _band(cell: Cell, field: str) -> list[list[float]]:
    """Return [epoch, mean, lowest, highest] of the epochs that every seed reached; epoch 0 has no training loss."""
    band = []
    for epochs in zip(*(record.history for record in cell.records.values()), strict=False):
        values = [getattr(epoch, field) for epoch in epochs]
        if None in values:
            continue
        ends = (math.fsum(values) / len(values), min(values), max(values))
        band.append([epochs[0].epoch, *(round(end, DECIMALS) for end in ends)])
    return band


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def slug(name: str) -> str:
    """Return a name as part of a file name: lower-case letters, digits and single hyphens between them.

    A name that does not have that form already, or that ends like a hash, also gets the start of its SHA-256: no two
    names share a file on any file system.
    """
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and not re.search(r"(^|-)[0-9a-f]{8}$", name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
