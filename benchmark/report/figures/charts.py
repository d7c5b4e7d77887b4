"""What the figures show, taken from the results; drawing is in `benchmark.report.figures.draw_charts`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.analysis.differences import QUESTIONS, Difference
from benchmark.analysis.results import Cell, Results
from benchmark.report.figures import draw_charts
from benchmark.report.figures.picture import Picture
from benchmark.report.text import escape
from benchmark.words import count, listed

DECIMALS = 5
"""Of shares and losses in a figure's data."""

CLASSES_IN_A_CONFUSION = 10
"""Most classes that a confusion matrix can show with readable numbers."""

CELLS_DRAWN = 40
"""Cells of which learning curves, confusion matrices and images are drawn; the tables have all."""


def pictures(results: Results, found: Sequence[Difference]) -> list[Picture]:
    """Return the report's figures in its order; none where no run is done."""
    made: list[Picture] = []
    drawn = drawn_one_by_one(results)
    for model in results.matrix.models:
        cells = [cell for cell in results.by_key.values() if cell.key[3] == model and cell.records]
        if not cells:
            continue
        suffix, named = model_suffix(model, results)
        made.append(_accuracy(results, cells, suffix, named))
        made.extend(_forest([d for d in found if d.contrast.model == model], suffix, named))
        made.extend(_cost(results, cells, suffix, named))
        for dataset in results.datasets:
            if (dataset, model) in drawn:
                own = done_cells(results, dataset, model)
                made.append(_curves(dataset, own, own_name("curves", dataset, model, results), named))
                made.extend(_confusion(dataset, own, own_name("confusion", dataset, model, results), named))
    return made


def done_cells(results: Results, dataset: str, model: str) -> list[Cell]:
    """Return a dataset's cells with one model of which a run is done."""
    return [cell for cell in results.by_key.values() if (cell.key[0], cell.key[3]) == (dataset, model) and cell.records]


def classes_of(cell: Cell) -> tuple[str, ...]:
    """Return the names of the classes of a cell of which a run is done, in label order."""
    record = next(iter(cell.records.values()))
    return record.dataset.classes


def measured(results: Results) -> list[tuple[str, str]]:
    """Return the (dataset, model) pairs with a done run, by model, in the matrix's order."""
    return [(d, m) for m in results.matrix.models for d in results.datasets if done_cells(results, d, m)]


def drawn_one_by_one(results: Results) -> list[tuple[str, str]]:
    """Return the (dataset, model) pairs that have figures of their own: the first, and on to `CELLS_DRAWN` cells."""
    chosen: list[tuple[str, str]] = []
    cells = 0
    for dataset, model in measured(results):
        cells += len(done_cells(results, dataset, model))
        if chosen and cells > CELLS_DRAWN:
            break
        chosen.append((dataset, model))
    return chosen


def drawn_note(results: Results) -> str:
    """Return which datasets have figures of their own, where not all have; else nothing."""
    every, chosen = measured(results), drawn_one_by_one(results)
    if len(chosen) == len(every):
        return ""
    several = results.several_models
    names = [escape(dataset) + (f" with {escape(model)}" if several else "") for dataset, model in chosen]
    return (
        f"Learning curves, confusion matrices and images are drawn for {CELLS_DRAWN} cells at most: here of "
        f"{listed(names)}, {len(chosen)} of {len(every)}. The tables and `runs.parquet` have all."
    )


def own_name(kind: str, dataset: str, model: str, results: Results) -> str:
    """Return the file name, without extension, of the figure of a kind that one dataset has with one model."""
    return f"{kind}-{slug(dataset)}{model_suffix(model, results)[0]}"


def model_suffix(model: str, results: Results) -> tuple[str, str]:
    """Return what names a model in file names and in titles; nothing where the matrix has one model."""
    return (f"--{slug(model)}", f" ({model})") if results.several_models else ("", "")


def _accuracy(results: Results, cells: Sequence[Cell], suffix: str, named: str) -> Picture:
    return Picture(
        name=f"accuracy{suffix}",
        section="accuracy",
        title=f"Test accuracy by policy and input mode{named}",
        caption="Points: means over seeds. Bars: 95 % intervals for crossed seeds and test images; a dotted bar is "
        "over the images alone (one seed). Bars that overlap may still belong to cells that differ: the paired "
        "differences tell.",
        data=_panels(results, [_point(cell) for cell in cells]),
        draw=draw_charts.accuracy,
    )


def _panels(results: Results, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the data of a figure with one panel per dataset: the points, and which names they have, in order."""

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
    dataset, mode, policy, _ = cell.key
    return {
        "dataset": dataset,
        "mode": mode,
        "policy": policy,
        "mean": _round(cell.accuracy.mean),
        "low": _round(cell.accuracy.low),
        "high": _round(cell.accuracy.high),
        "seeds": cell.accuracy.seeds,
    }


def _forest(found: Sequence[Difference], suffix: str, named: str) -> list[Picture]:
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
        return []
    return [
        Picture(
            name=f"differences{suffix}",
            section="differences",
            title=f"Paired differences that answer the questions{named}",
            caption="Mean difference in test accuracy on the same seeds and the same images, with its 95 % interval. "
            "Filled: shown to differ, after Holm's correction. Hollow: could not tell, or too few seeds for a verdict.",
            data=rows,
            draw=draw_charts.forest,
        )
    ]


def _cost(results: Results, cells: Sequence[Cell], suffix: str, named: str) -> list[Picture]:
    points = []
    for cell in cells:
        seconds = cell.mean_time("train_seconds")
        if seconds is not None and not seconds.bound:
            points.append({**_point(cell), "seconds": round(seconds.value, 2)})
    if not points:
        return []
    left_out = len(cells) - len(points)
    return [
        Picture(
            name=f"time{suffix}",
            section="cost",
            title=f"Test accuracy against training time{named}",
            caption="Seconds of training steps, mean over the done runs that did not wait for a processor, evaluation "
            "and loading left out. Bars: 95 % intervals of the accuracy, over all done seeds. Times on different "
            "hardware do not compare."
            + (f" Not drawn: {count(left_out, 'cell')} of which every run waited." if left_out else ""),
            data=_panels(results, points) | {"policies": list(results.matrix.policies)},  # the markers go by all
            draw=draw_charts.cost,
        )
    ]


def _curves(dataset: str, cells: Sequence[Cell], name: str, named: str) -> Picture:
    data = [
        {
            "mode": cell.key[1],
            "policy": cell.key[2],
            "seeds": len(cell.seeds),
            "train_loss": _band(cell, "train_loss"),
            "val_accuracy": _band(cell, "val_accuracy"),
        }
        for cell in cells
    ]
    return Picture(
        name=name,
        section="curves",
        title=f"Learning curves on {dataset}{named}",
        caption="Lines: means over seeds, drawn as far as every seed of the cell ran. Bands: lowest to highest seed.",
        data=data,
        draw=draw_charts.curves,
    )


def _confusion(dataset: str, cells: Sequence[Cell], name: str, named: str) -> list[Picture]:
    """Return the confusion matrices of a dataset's cells; none where there are too many classes to read."""
    classes = classes_of(cells[0])
    if len(classes) > CLASSES_IN_A_CONFUSION:
        return []
    data = {
        "classes": list(classes),
        "cells": [{"mode": c.key[1], "policy": c.key[2], "counts": c.confusion.tolist()} for c in cells],
    }
    return [
        Picture(
            name=name,
            section="confusion",
            title=f"Confusion on the test images of {dataset}{named}",
            caption="Percent of the images of a true class (row) that were taken for a class (column), over the done "
            f"seeds together. Datasets of more than {CLASSES_IN_A_CONFUSION} classes have the table of recalls only.",
            data=data,
            draw=draw_charts.confusion,
        )
    ]


def _band(cell: Cell, what: str) -> list[list[float]]:
    """Return [epoch, mean, lowest, highest] for the epochs that every seed reached."""
    band = []
    for epochs in zip(*(record.history for record in cell.records.values()), strict=False):
        values = [float(getattr(epoch, what)) for epoch in epochs]
        ends = (math.fsum(values) / len(values), min(values), max(values))
        band.append([epochs[0].epoch, *(round(end, DECIMALS) for end in ends)])
    return band


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def slug(name: str) -> str:
    """Return a name as part of a file name: lower-case letters, digits and single hyphens between them.

    A name that is not such a text already, or that ends like a hash, gets the start of its SHA-256 as well: no two
    names share a file, on no file system.
    """
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and not re.search(r"(^|-)[0-9a-f]{8}$", name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
