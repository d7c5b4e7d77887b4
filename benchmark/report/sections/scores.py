"""Numbers in addition to accuracy: other scores and readings, recall by class, and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.results import Cell, Results, TimeField
from benchmark.analysis.scores import BINS, recalls
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.report.tables import cell_columns, comparison_columns, table_of
from benchmark.report.text import escape, format_value, table

CLASSES_SHOWN = 12
"""Largest number of classes shown: of more, those of lowest recall are."""

NOTE = (
    "Means over the done seeds, of the chosen epoch on the test split unless named otherwise, ± half-width of the 95 % "
    "interval by the crossed bootstrap (seeds and images). Balanced accuracy: unweighted mean of the classes' recall. "
    "ROC AUC: of each class against the rest, unweighted mean over the classes. Macro F1: unweighted mean over the "
    f"classes. Log loss: mean cross-entropy. ECE: expected calibration error in {BINS} bins; it is biased upwards on "
    "few images, and its interval is for the mean over test sets of this size. Validation: accuracy of the "
    "chosen epoch. Last epoch: test accuracy without a choice."
)

_COLUMNS: Mapping[str, tuple[str, float, int]] = {
    "balanced_accuracy": ("balanced accuracy (%)", 0.01, 1),
    "roc_auc": ("ROC AUC (%)", 0.01, 1),
    "macro_f1": ("macro F1 (%)", 0.01, 1),
    "log_loss": ("log loss (nats)", 1, 3),
    "calibration_error": ("ECE (%)", 0.01, 1),
}
"""Score -> (title, unit, decimals)."""

_READINGS: Mapping[str, str] = {
    "validation.accuracy": "validation (%)",
    "last_epoch_test_accuracy": "last epoch (%)",
}


def other_scores(results: Results) -> str:
    """Return a table of the cells: the scores other than accuracy, and other readings of accuracy."""
    rows = [
        cell_columns(results, cell.key)
        | {title: _with_half_width(cell.scores.get(name), name) for name, (title, _, _) in _COLUMNS.items()}
        | {title: format_value(cell.mean(field), 0.01, 1) for field, title in _READINGS.items()}
        for cell in results.done_cells()
    ]
    return f"{NOTE}\n\n{table_of(rows, right=len(_COLUMNS) + len(_READINGS))}"


def score_differences_table(scores: Mapping[Contrast, Mapping[str, Interval]], results: Results) -> str:
    """Return a table of the headlines' differences in the other scores, empty if none is measured."""
    rows = [
        comparison_columns(results, contrast)
        | {
            title.replace("%", "points"): _with_half_width(found.get(name), name, sign=True)
            for name, (title, _, _) in _COLUMNS.items()
        }
        for contrast, found in scores.items()
        if found
    ]
    note = (
        "The comparisons that answer the questions, in the other scores: first minus second ± half-width of the 95 % "
        "interval. Lower log loss and ECE are better. Not corrected for the number of comparisons."
    )
    return f"{note}\n\n{table_of(rows, right=len(_COLUMNS))}" if rows else ""


def _with_half_width(interval: Interval | None, name: str, sign: bool = False) -> str:
    if interval is None:
        return ""
    _, unit, decimals = _COLUMNS[name]
    mean = format_value(interval.mean, unit, decimals, sign)
    return f"{mean} ± {format_value(interval.half_width, unit, decimals) or '?'}"


def recall_tables(results: Results) -> str:
    """Return a table per dataset and setup of each class's share of right test images, over all done seeds."""
    parts = ["Percentage of the class's test images that are right, over all done seeds."]
    for dataset in results.datasets:
        for setup in results.matrix.setups:
            cells = results.done_cells(dataset, setup)
            if not cells:
                continue
            classes = cells[0].classes
            by_cell = [recalls(cell.confusion) for cell in cells]
            columns = list(zip(*by_cell, strict=True))
            order = _hardest(columns)
            header = ["input mode", "policy", *(escape(classes[k]) for k in order)]
            rows = [
                [escape(cell.key.input_mode), escape(cell.key.policy), *(format_value(own[k], 0.01, 1) for k in order)]
                for cell, own in zip(cells, by_cell, strict=True)
            ]
            title = "### " + ", ".join(
                escape(name) for name in (dataset, *results.matrix.varying_parts(setup).values())
            )
            if len(order) < len(columns):
                title += f"\n\nThe {len(order)} classes of lowest mean recall, of {len(columns)}."
            parts.append(f"{title}\n\n{table(header, rows, left=2)}")
    return "\n\n".join(parts)


def _hardest(columns: Sequence[Sequence[float | None]]) -> list[int]:
    """Return the classes to show, in label order: all, or those of lowest mean recall if there are too many."""
    if len(columns) <= CLASSES_SHOWN:
        return list(range(len(columns)))

    def mean(k: int) -> float:
        known = [value for value in columns[k] if value is not None]
        return math.fsum(known) / len(known) if known else math.inf

    return sorted(sorted(range(len(columns)), key=lambda k: (mean(k), k))[:CLASSES_SHOWN])


COST_NOTE = (
    "Times are means over the done runs that did not wait for a processor; with ≤ or ≥ they are bounds, because "
    "every run of the cell waited. Train: seconds of all training steps of a run. Images per second: forward and "
    "backward in training, forward only in evaluation. Input: one image as the network gets it, in fp32. Peak: "
    "resident memory of the worker, or on a GPU the memory allocated there. Times on different hardware "
    "are not comparable."
)

FP32_BYTES = 4


def costs(results: Results) -> str:
    """Return a table of the cells with a done run: seconds, images per second, parameters, input bytes, peak memory."""
    rows = []
    for cell in results.done_cells():
        channels = INPUT_MODES[cell.key.input_mode].channels
        pixels = next(iter(cell.records.values())).spec.input_size ** 2
        on_device = cell.mean("memory.peak_device_bytes")
        peak = cell.mean("memory.peak_rss_bytes") if on_device is None else on_device
        rows.append(
            cell_columns(results, cell.key)
            | {
                "train (s)": _time(cell, "train_seconds", 1, "≤"),
                "train (images/s)": _time(cell, "train_images_per_second", 0, "≥"),
                "evaluation (images/s)": _time(cell, "eval_images_per_second", 0, "≥"),
                "parameters (M)": format_value(cell.mean("model.parameters"), 1e6, 3),
                "input (kB)": format_value(channels * pixels * FP32_BYTES, 1e3, 1),
                "peak (MB)": format_value(peak, 1e6, 0),
            }
        )
    return f"{COST_NOTE}\n\n{table_of(rows, right=6)}"


def _time(cell: Cell, field: TimeField, decimals: int, sign: str) -> str:
    mean = cell.mean_time(field)
    if mean is None:
        return ""
    return (f"{sign} " if mean.bound else "") + format_value(mean.value, 1, decimals)
