"""Scores beside accuracy: F1, log loss, calibration, the other readings, and the recall of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.analysis.quality import BINS, recalls
from benchmark.analysis.results import Results
from benchmark.report.tables import mean_of
from benchmark.report.text import escape, shown, table

CLASSES_SHOWN = 12
"""A dataset with more shows its classes of lowest recall; the report says so."""

NOTE = (
    "Means over the done seeds, of the chosen checkpoint on the test split unless named otherwise. Macro F1: "
    "unweighted mean over the classes. Log loss: mean cross-entropy. Validation: the accuracy that chose the "
    "checkpoint. Last epoch: test accuracy without choosing. Article's way: the best test accuracy over all epochs, "
    f"optimistic. ECE: expected calibration error in {BINS} bins; it is biased upward on few images."
)


def other_scores(results: Results) -> str:
    """Return a row a cell: macro F1, log loss, calibration error, validation, last epoch, the article's reading."""
    several = len(results.matrix.models) > 1
    fields: Sequence[tuple[str, str, float, int]] = (
        ("macro F1 (%)", "test.macro_f1", 0.01, 1),
        ("log loss (nats)", "test.log_loss", 1, 3),
        ("validation (%)", "validation.accuracy", 0.01, 1),
        ("last epoch (%)", "last_epoch_test_accuracy", 0.01, 1),
        ("article's way (%)", "article_accuracy", 0.01, 1),
    )
    header = ["dataset", *(["model"] if several else []), "input mode", "policy", *(name for name, *_ in fields)]
    header.append("ECE (%)")
    rows = []
    for cell in results.cells.values():
        if cell.records:
            dataset, mode, policy, model = cell.key
            names = [dataset, *([model] if several else []), mode, policy]
            numbers = [shown(mean_of(cell, field), unit, digits) for _, field, unit, digits in fields]
            calibration = math.fsum(cell.calibration_errors) / len(cell.calibration_errors)
            rows.append([*(escape(name) for name in names), *numbers, shown(calibration, 0.01, 1)])
    return f"{NOTE}\n\n{table(header, rows, left=len(header) - len(fields) - 1)}"


def recall_tables(results: Results) -> str:
    """Return a table a dataset (and model): the share of each class's test images that are right, over done seeds."""
    several = len(results.matrix.models) > 1
    parts = ["Percent of the class's test images that are right, over the done seeds together."]
    for dataset in results.datasets:
        for model in results.matrix.models:
            cells = [cell for cell in results.cells.values() if (cell.key[0], cell.key[3]) == (dataset, model)]
            cells = [cell for cell in cells if cell.records]
            if not cells:
                continue
            record = next(iter(cells[0].records.values()))
            assert record.dataset is not None
            by_cell = [recalls(cell.confusion) for cell in cells]
            columns = list(zip(*by_cell, strict=True))
            order = _hardest(columns)
            header = ["input mode", "policy", *(escape(record.dataset.classes[k]) for k in order)]
            rows = [
                [escape(cell.key[1]), escape(cell.key[2]), *(shown(own[k], 0.01, 1) for k in order)]
                for cell, own in zip(cells, by_cell, strict=True)
            ]
            title = f"### {escape(dataset)}" + (f", {escape(model)}" if several else "")
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
