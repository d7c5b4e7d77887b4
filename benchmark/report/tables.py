"""The comparison table in the article's shape, and what stands beside it as CSV."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import get_args

from benchmark.analysis.differences import Contrast, Difference
from benchmark.analysis.inference import equivalence_p_value, p_value, smallest_visible
from benchmark.analysis.interval import Interval
from benchmark.analysis.results import Cell, CellKey, Results
from benchmark.plan import STATES
from benchmark.report.text import with_interval
from benchmark.report.times import Field, mean_time

BEST = "★"
"""Marks the highest mean accuracy of a dataset."""


def ledger(results: Results) -> list[tuple[str, int]]:
    """Return every state with its number of runs: done, pending and stale always, the others where there are any."""
    counts = results.plan.counts()
    always = ("done", "failed", "stale", "pending")
    return [(state, counts.get(state, 0)) for state in STATES if state in always or counts.get(state)]


def comparison(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: dataset x input mode (x model where there are several) against policies; plain text."""
    several = len(results.matrix.models) > 1
    header = ["dataset", *(["model"] if several else []), "input mode", *results.matrix.policies]
    reasons = {(i.dataset, i.input_mode, policy): i.reason for i in results.not_applicable for policy in i.policies}
    rows = []
    for dataset in results.datasets:
        best = results.best(dataset)
        for model in results.matrix.models:
            for mode in results.matrix.input_modes:
                keys = [(dataset, mode, policy, model) for policy in results.matrix.policies]
                cells = [
                    f"n/a: {reasons[key[:3]]}" if key[:3] in reasons else cell_text(results, key, key in best)
                    for key in keys
                ]
                rows.append([dataset, *([model] if several else []), mode, *cells])
    return header, rows


def cell_text(results: Results, key: CellKey, best: bool) -> str:
    """Return ``91.4 (88.9–93.5)`` in percent, with ``n=2`` where seeds are missing, or the missing runs' states.

    A cell that is another one by construction is named after it.
    """
    if key in results.repeated:
        return f"= {results.repeated[key][1]}"
    cell = results.cells[key]
    if cell.accuracy is None:
        return ", ".join(f"{number} {state}" for state, number in cell_states(results, key))
    text = with_interval(cell.accuracy)
    if len(cell.seeds) < len(cell.asked):
        text += f" (n={len(cell.seeds)})"
    return f"{text} {BEST}" if best else text


def cell_states(results: Results, key: CellKey) -> list[tuple[str, int]]:
    """Return the states of a cell's runs with their numbers."""
    counts = results.states[key]
    return [(state, counts[state]) for state in STATES if counts[state]]


CELL_COLUMNS = (
    "dataset",
    "model",
    "input_mode",
    "policy",
    "seeds_asked",
    "seeds_done",
    "test_images",
    "test_groups",
    "accuracy",
    "low_95",
    "high_95",
    "degrees_of_freedom",
    "interval_over",
    "limited_by_few_images",
    "best_of_dataset",
    "macro_f1",
    "macro_f1_half_width_95",
    "log_loss",
    "log_loss_half_width_95",
    "calibration_error",
    "calibration_error_half_width_95",
    "last_epoch_test_accuracy",
    "article_accuracy",
    "validation_accuracy",
    "validation_saturated_runs",
    "train_seconds",
    "train_images_per_second",
    "eval_images_per_second",
    "contended_runs",
    "parameters",
    "note",
)
"""Columns of table.csv. Scores are shares (0..1), means over the done seeds; ends of intervals are not clipped. Test
groups are empty where each image is a unit of its own. Seconds and images per second are means over the runs that are
not contended, empty where all are."""


def cells_csv(results: Results) -> str:
    """Return table.csv: one row a cell, cells without a done run and combinations without a meaning included."""
    rows = []
    for key, cell in results.cells.items():
        dataset, mode, policy, model = key
        row: dict[str, str] = {
            "dataset": dataset,
            "model": model,
            "input_mode": mode,
            "policy": policy,
            "seeds_asked": str(len(cell.asked)),
            "seeds_done": str(len(cell.seeds)),
            "note": ", ".join(f"{number} {state}" for state, number in cell_states(results, key) if state != "done"),
        }
        if cell.accuracy is not None:
            row |= _interval(cell.accuracy, "accuracy")
            row |= {"best_of_dataset": _yes(key in results.best(dataset)), **_scores(cell.scores), **_means(cell)}
        rows.append(row)
    for (dataset, mode, policy, model), (_, first, _, _) in results.repeated.items():
        row = {"dataset": dataset, "model": model, "input_mode": mode, "policy": policy}
        rows.append(row | {"note": f"the same as {first} by construction"})
    left_out = [(item, policy) for item in results.not_applicable for policy in item.policies]
    for (item, policy), model in itertools.product(left_out, results.matrix.models):
        row = {"dataset": item.dataset, "model": model, "input_mode": item.input_mode, "policy": policy}
        rows.append(row | {"seeds_asked": "0", "seeds_done": "0", "note": f"not applicable: {item.reason}"})
    return _csv(CELL_COLUMNS, rows)


DIFFERENCE_COLUMNS = (
    "family",
    "dataset",
    "model",
    "first",
    "second",
    "context",
    "headline",
    "seeds_asked",
    "seeds_paired",
    "test_images",
    "test_groups",
    "difference",
    "half_width_95",
    "low_95",
    "high_95",
    "degrees_of_freedom",
    "interval_over",
    "limited_by_few_images",
    "p_value",
    "p_value_holm",
    "smallest_visible_difference",
    "equivalence_margin",
    "p_value_equivalence",
    "equivalent_within_margin",
    "macro_f1_difference",
    "macro_f1_difference_half_width_95",
    "log_loss_difference",
    "log_loss_difference_half_width_95",
    "calibration_error_difference",
    "calibration_error_difference_half_width_95",
)
"""Columns of differences.csv. ``difference`` is the accuracy of first minus that of second, in shares (-1..1).

The other scores' differences stand in the rows that answer a question (headlines of one dataset)."""


def differences_csv(found: Iterable[Difference], scores: Mapping[Contrast, Mapping[str, Interval]]) -> str:
    """Return differences.csv: one row a paired difference, those without a common seed included.

    Args:
        found: the differences.
        scores: of headlines, the differences in the other scores.
    """
    rows = []
    for difference in found:
        contrast = difference.contrast
        row: dict[str, str] = {
            "family": contrast.family,
            "dataset": contrast.dataset,
            "model": contrast.model,
            "first": contrast.first,
            "second": contrast.second,
            "context": contrast.context,
            "headline": _yes(contrast.headline),
            "seeds_asked": str(difference.asked),
            "seeds_paired": str(len(difference.seeds)),
        }
        if difference.interval is not None:
            row |= _interval(difference.interval, "difference")
            row |= {
                "half_width_95": _decimals(difference.interval.half_width),
                "p_value": _decimals(p_value(difference.interval)),
                "p_value_holm": _decimals(difference.adjusted_p),
                "smallest_visible_difference": _decimals(smallest_visible(difference.interval)),
                "equivalence_margin": _decimals(difference.margin),
                "equivalent_within_margin": _yes(difference.equivalent),
                "p_value_equivalence": _decimals(equivalence_p_value(difference.interval, difference.margin)),
            }
        rows.append(row | _scores(scores.get(contrast, {}), "_difference"))
    return _csv(DIFFERENCE_COLUMNS, rows)


def mean_of(cell: Cell, field: str) -> float | None:
    """Return the mean of a record's field over a cell's done runs, whatever their order.

    Args:
        cell: the cell.
        field: dotted, e.g. ``validation.accuracy``; times have `mean_time`.

    Returns:
        None without a done run, and where one lacks the field: no mean over some of the seeds.
    """
    values = [attrgetter(field)(record) for record in cell.records.values()]
    return None if not values or None in values else math.fsum(values) / len(values)


_MEANS = {
    "last_epoch_test_accuracy": ("last_epoch_test_accuracy", 5),
    "article_accuracy": ("article_accuracy", 5),
    "validation_accuracy": ("validation.accuracy", 5),
    "parameters": ("model.parameters", 0),
}
"""Column -> (field of the record, decimals)."""


def _means(cell: Cell) -> dict[str, str]:
    means = {column: _decimals(mean_of(cell, field), digits) for column, (field, digits) in _MEANS.items()}
    times = {field: mean_time(cell, field) for field in get_args(Field)}
    records = list(cell.records.values())
    return (
        means
        | {f: "" if time is None or time.bound else _decimals(time.value, 2) for f, time in times.items()}
        | {
            "validation_saturated_runs": str(sum(record.validation_saturated is True for record in records)),
            "contended_runs": str(sum(record.timing.contended is True for record in records)),
        }
    )


def _scores(scores: Mapping[str, Interval], suffix: str = "") -> dict[str, str]:
    means = {f"{name}{suffix}": _decimals(interval.mean) for name, interval in scores.items()}
    return means | {
        f"{name}{suffix}_half_width_95": _decimals(interval.half_width) for name, interval in scores.items()
    }


def _interval(interval: Interval, name: str) -> dict[str, str]:
    return {
        name: _decimals(interval.mean),
        "test_images": str(interval.images),
        "test_groups": "" if interval.groups is None else str(interval.groups),
        "low_95": _decimals(interval.low),
        "high_95": _decimals(interval.high),
        "degrees_of_freedom": _decimals(interval.df, 1),
        "interval_over": interval.basis,
        "limited_by_few_images": _yes(interval.floored),
    }


def _decimals(value: float | None, digits: int = 5) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _csv(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
