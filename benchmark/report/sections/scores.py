"""Scores beside accuracy: F1, log loss, calibration, the other readings, and the recall of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.analysis.differences import Contrast
from benchmark.analysis.results import Results
from benchmark.analysis.scores import BINS, recalls
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.report.figures.charts import classes_of, done_cells
from benchmark.report.tables import compared, place, table_of
from benchmark.report.text import escape, shown, table

CLASSES_SHOWN = 12
"""A dataset with more shows its classes of lowest recall; the report says so."""

NOTE = (
    "Means over the done seeds, of the chosen checkpoint on the test split unless named otherwise, ± half-width of the "
    "95 % interval by the crossed bootstrap (seeds and images). Macro F1: unweighted mean over the classes. Log loss: "
    f"mean cross-entropy. ECE: expected calibration error in {BINS} bins; it is biased upward on few images, and its "
    "interval is about what so many images show on average. Validation: the accuracy that chose the checkpoint. Last "
    "epoch: test accuracy without choosing. Article's way: the best test accuracy over all epochs, optimistic."
)

_COLUMNS: Mapping[str, tuple[str, float, int]] = {
    "macro_f1": ("macro F1 (%)", 0.01, 1),
    "log_loss": ("log loss (nats)", 1, 3),
    "calibration_error": ("ECE (%)", 0.01, 1),
}
"""Score -> (title, unit, decimals)."""

_READINGS: Mapping[str, str] = {
    "validation.accuracy": "validation (%)",
    "last_epoch_test_accuracy": "last epoch (%)",
    "article_accuracy": "article's way (%)",
}


def other_scores(results: Results) -> str:
    """Return a row per cell: macro F1, log loss, calibration error, validation, last epoch, the article's reading."""
    rows = []
    for cell in results.by_key.values():
        dataset, mode, policy, model = cell.key
        if cell.records:
            rows.append(
                place(results, dataset, model, input_mode=mode, policy=policy)
                | {title: _with_half_width(cell.scores[name], name) for name, (title, _, _) in _COLUMNS.items()}
                | {title: shown(cell.mean(field), 0.01, 1) for field, title in _READINGS.items()}
            )
    return f"{NOTE}\n\n{table_of(rows, right=len(_COLUMNS) + len(_READINGS))}"


def score_differences_table(scores: Mapping[Contrast, Mapping[str, Interval]], results: Results) -> str:
    """Return a row per headline with its differences in the other scores, or nothing if none is measured."""
    rows = [
        compared(results, contrast)
        | {
            title.replace("%", "points"): _with_half_width(found[name], name, sign=True)
            for name, (title, _, _) in _COLUMNS.items()
        }
        for contrast, found in scores.items()
        if found
    ]
    note = (
        "The comparisons that answer the questions, in scores beside accuracy: first minus second ± half-width of the "
        "95 % interval. Of log loss and ECE less is better. Not corrected for the number of comparisons."
    )
    return f"{note}\n\n{table_of(rows, right=len(_COLUMNS))}" if rows else ""


def _with_half_width(interval: Interval, name: str, sign: bool = False) -> str:
    _, unit, decimals = _COLUMNS[name]
    mean = shown(interval.mean, unit, decimals, sign)
    return f"{mean} ± {shown(interval.half_width, unit, decimals) or '?'}"


def recall_tables(results: Results) -> str:
    """Return a table per dataset (and model): the share of each class's test images that are right, over done seeds."""
    parts = ["Percent of the class's test images that are right, over the done seeds together."]
    for dataset in results.datasets:
        for model in results.matrix.models:
            cells = done_cells(results, dataset, model)
            if not cells:
                continue
            classes = classes_of(cells[0])
            by_cell = [recalls(cell.confusion) for cell in cells]
            columns = list(zip(*by_cell, strict=True))
            order = _hardest(columns)
            header = ["input mode", "policy", *(escape(classes[k]) for k in order)]
            rows = [
                [escape(cell.key[1]), escape(cell.key[2]), *(shown(own[k], 0.01, 1) for k in order)]
                for cell, own in zip(cells, by_cell, strict=True)
            ]
            title = f"### {escape(dataset)}" + (f", {escape(model)}" if results.several_models else "")
            if len(order) < len(columns):
                title += f"\n\nThe {len(order)} classes of lowest mean recall, of {len(columns)}."
            parts.append(f"{title}\n\n{table(header, rows, left=2)}")
    return "\n\n".join(parts)


def _hardest(columns: Sequence[Sequence[float | None]]) -> list[int]:
    """Return the classes to show, in label order: all, or those of lowest mean recall where there are too many."""
    if len(columns) <= CLASSES_SHOWN:
        return list(range(len(columns)))

    def mean(k: int) -> float:
        known = [value for value in columns[k] if value is not None]
        return math.fsum(known) / len(known) if known else math.inf

    return sorted(sorted(range(len(columns)), key=lambda k: (mean(k), k))[:CLASSES_SHOWN])
