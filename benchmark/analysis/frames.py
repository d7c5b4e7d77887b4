"""Results as pandas DataFrames: cells, paired differences, published claims and runs.

Scores, differences and ends of intervals are shares (0..1, or -1..1), log losses nats per image, times seconds. Text is
``string``, integers ``Int64``, booleans ``boolean``, all else ``float64``; unknown values are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.differences import Difference
from benchmark.analysis.floor import best_floor, in_words
from benchmark.analysis.published import Claim, JudgedClaim
from benchmark.analysis.results import Cell, Results, TimeField
from benchmark.analysis.scores import SCORES
from benchmark.analysis.uncertainty.inference import equivalence_p_value, p_value, smallest_visible
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.matrix.run_spec import CellKey
from benchmark.records.floor import FloorScores, PlannedRow
from benchmark.records.plan import Plan, PlannedRun

_SCORE_COLUMNS = tuple(column for name in SCORES for column in (name, f"{name}_half_width_95"))
_INTERVAL_COLUMNS = ("low_95", "high_95", "degrees_of_freedom", "interval_over", "limited_by_few_images")

CELL_COLUMNS = (
    *("dataset", "model", "image_size", "input_mode", "policy", "seeds_asked", "seeds_done"),
    *("test_images", "test_groups", "accuracy", *_INTERVAL_COLUMNS, "best_of_dataset", *_SCORE_COLUMNS),
    *("last_epoch_test_accuracy", "validation_accuracy", "validation_saturated_runs"),
    *(*get_args(TimeField), "contended_runs", "parameters", "note"),
)

DIFFERENCE_COLUMNS = (
    *("family", "dataset", "model", "image_size", "first", "second", "context", "headline"),
    *("seeds_asked", "seeds_paired", "test_images", "test_groups", "difference", "half_width_95", *_INTERVAL_COLUMNS),
    *("p_value", "p_value_adjusted", "smallest_visible_difference", "level"),
    *("equivalence_margin", "p_value_equivalence", "equivalent_within_margin"),
    *(column.replace(name, f"{name}_difference") for name in SCORES for column in (name, f"{name}_half_width_95")),
)

CLAIM_COLUMNS = (
    *("claim", "dataset", "model", "image_size", "first", "second", "context", "verdict", "said_by_the_source"),
    *("difference", "half_width_95", "smallest_visible_difference"),
)

_FLOOR_SCORES = tuple(FloorScores.model_fields)

FLOOR_COLUMNS = (
    *("dataset", "method", "split_seed", "fold", "state", "train_images", "validation_images", "test_images"),
    *("hyperparameters", *(f"{split}_{name}" for split in ("validation", "test") for name in _FLOOR_SCORES)),
    "best_of_dataset",
)

TUNING_COLUMNS = (
    *("dataset", "model", "image_size", "policy", "fold", "lr", "chosen", "tuning_runs_asked", "tuning_runs_done"),
    *("tuning_runs_diverged", "validation_accuracy", "validation_log_loss"),
)

_TYPES = (
    dict.fromkeys(("dataset", "model", "input_mode", "policy", "interval_over", "note", "lr"), "string")
    | dict.fromkeys(("family", "first", "second", "context", "claim", "verdict"), "string")
    | dict.fromkeys(("method", "state", "hyperparameters"), "string")
    | dict.fromkeys(("seeds_asked", "seeds_done", "seeds_paired", "test_images", "test_groups"), "Int64")
    | dict.fromkeys(("image_size", "validation_saturated_runs", "contended_runs", "parameters"), "Int64")
    | dict.fromkeys(("split_seed", "fold", "train_images", "validation_images"), "Int64")
    | dict.fromkeys(("tuning_runs_asked", "tuning_runs_done", "tuning_runs_diverged"), "Int64")
    | dict.fromkeys(("limited_by_few_images", "best_of_dataset", "headline", "chosen"), "boolean")
    | dict.fromkeys(("equivalent_within_margin", "said_by_the_source"), "boolean")
)


def cells(results: Results) -> pd.DataFrame:
    """Return one row per cell, including cells without a done run and combinations that do not apply.

    Columns: `CELL_COLUMNS`. Scores are means over the done seeds; ``test_groups`` is missing where images are not
    grouped. Times are means over the runs that did not wait for a processor, missing where all waited.
    """
    best = {key for dataset in results.datasets for key in results.best(dataset)}
    rows = [_cell(cell, results, best) for cell in results.by_key.values()]
    rows += [
        key._asdict() | {"note": f"the same as {first.input_mode} by construction"}
        for key, first in results.repeated.items()
    ]
    rows += [
        key._asdict() | {"seeds_asked": 0, "seeds_done": 0, "note": f"not applicable: {without.reason}"}
        for without in results.not_applicable
        for policy in without.policies
        for setup in results.matrix.setups
        for key in (CellKey(without.dataset, without.input_mode, policy, *setup),)
        if not results.matrix.leaves_out(key)
    ]
    return _frame(rows, CELL_COLUMNS)


def differences(
    found: Iterable[Difference], scores: Mapping[Contrast, Mapping[str, Interval]] | None = None
) -> pd.DataFrame:
    """Return one row per paired difference, including those without a common seed.

    Columns: `DIFFERENCE_COLUMNS`. ``difference`` is the accuracy of first minus that of second.

    Args:
        found: differences in accuracy.
        scores: differences in the other scores, by contrast.
    """
    return _frame([_difference(each, (scores or {}).get(each.contrast, {})) for each in found], DIFFERENCE_COLUMNS)


def claims(judged: Mapping[Claim, Sequence[JudgedClaim]]) -> pd.DataFrame:
    """Return one row per claim and comparison that tests it; columns: `CLAIM_COLUMNS`."""
    rows = [
        _difference(each.difference, {})
        | {"claim": claim.text, "verdict": each.verdict, "said_by_the_source": each.by_the_source}
        for claim, comparisons in judged.items()
        for each in comparisons
    ]
    return _frame(rows, CLAIM_COLUMNS)


def floor(results: Results) -> pd.DataFrame:
    """Return one row per floor row, done or not; columns: `FLOOR_COLUMNS`.

    ``best_of_dataset``: whether its method has the dataset's highest mean validation accuracy.
    """
    best = {dataset: best_floor(dataset, results.floor) for dataset in results.datasets}
    rows = [_floor_row(row, of is best[of.dataset]) for of in results.floor for row in of.planned]
    return _frame(rows, FLOOR_COLUMNS)


def _floor_row(planned: PlannedRow, is_best: bool) -> dict[str, Any]:
    spec, row = planned.spec, planned.row
    found = spec.model_dump(include={"dataset", "method", "split_seed", "fold"}) | {"state": planned.state}
    if row is None:
        return found
    splits = {"validation": row.validation, "test": row.test}
    return (
        found
        | row.model_dump(include={"train_images", "validation_images", "test_images"})
        | {"hyperparameters": in_words(row.hyperparameters)}
        | {f"{split}_{name}": getattr(scores, name) for split, scores in splits.items() for name in _FLOOR_SCORES}
        | {"best_of_dataset": is_best}
    )


def tuning(plan: Plan) -> pd.DataFrame:
    """Return one row per group of runs that share a learning rate, and rate that it was chosen from.

    Columns: `TUNING_COLUMNS`. Scores are means over the done tuning runs; ``fold`` is missing without cross-validation.
    """
    rows = [
        choice.group._asdict()
        | {
            "lr": f"{tried.lr:g}",
            "chosen": tried.lr == choice.lr,
            "tuning_runs_asked": tried.asked,
            "tuning_runs_done": tried.done,
            "tuning_runs_diverged": tried.diverged,
            "validation_accuracy": tried.accuracy,
            "validation_log_loss": tried.loss,
        }
        for choice in plan.choices
        for tried in choice.tried
    ]
    return _frame(rows, TUNING_COLUMNS)


def runs(plan: Plan) -> pd.DataFrame:
    """Return one row per reported run, done or not, in the matrix's order.

    Columns: ``state`` (as in the ledger), ``id``, then the record's fields with dots for nesting, e.g.
    ``timing.train_seconds``, in alphabetical order. Lists (the history, the stages, the classes) are JSON texts. A run
    without a record has its spec only; one that waits for its learning rate has no id and no stages yet.
    """
    frame = pd.json_normalize([_run(run) for run in plan.runs])
    frame = frame.map(lambda value: json.dumps(value, sort_keys=True) if isinstance(value, list) else value)
    return frame[["state", "id", *sorted(set(frame.columns) - {"state", "id"})]]


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype({column: _TYPES.get(column, "float64") for column in columns})


def _cell(cell: Cell, results: Results, best: set[CellKey]) -> dict[str, Any]:
    states = results.states[cell.key]
    missing = [f"{number} {state}" for state, number in states.items() if state != "done"]
    row = cell.key._asdict() | {
        "seeds_asked": len(cell.asked),
        "seeds_done": len(cell.seeds),
        "note": ", ".join(missing) or None,
    }
    if cell.accuracy is None:
        return row
    times = {field: cell.mean_time(field) for field in get_args(TimeField)}
    records = cell.records.values()
    return (
        row
        | _interval(cell.accuracy, "accuracy")
        | _scores(cell.scores)
        | {field: None if time is None or time.bound else time.value for field, time in times.items()}
        | {
            "best_of_dataset": cell.key in best,
            "last_epoch_test_accuracy": cell.mean("last_epoch_test_accuracy"),
            "validation_accuracy": cell.mean("validation.accuracy"),
            "validation_saturated_runs": sum(record.validation_saturated for record in records),
            "contended_runs": sum(record.timing.contended is True for record in records),
            "parameters": cell.mean("model.parameters"),
        }
    )


def _difference(difference: Difference, scores: Mapping[str, Interval]) -> dict[str, Any]:
    contrast, interval = difference.contrast, difference.interval
    row = {
        **{name: getattr(contrast, name) for name in ("family", "dataset", "first", "second", "context")},
        **contrast.setup._asdict(),
        "headline": contrast.headline,
        "seeds_asked": difference.asked,
        "seeds_paired": len(difference.seeds),
    }
    if interval is None:
        return row
    return (
        row
        | _interval(interval, "difference")
        | _scores(scores, "_difference")
        | {
            "half_width_95": interval.half_width,
            "p_value": p_value(interval),
            "p_value_adjusted": difference.adjusted_p,
            "smallest_visible_difference": smallest_visible(interval),
            "level": difference.level,
            "equivalence_margin": difference.margin,
            "p_value_equivalence": equivalence_p_value(interval, difference.margin),
            "equivalent_within_margin": difference.is_equivalent,
        }
    )


def _interval(interval: Interval, name: str) -> dict[str, Any]:
    return {
        name: interval.mean,
        "test_images": interval.images,
        "test_groups": interval.groups,
        "low_95": interval.low,
        "high_95": interval.high,
        "degrees_of_freedom": interval.df,
        "interval_over": interval.basis,
        "limited_by_few_images": interval.floored,
    }


def _scores(scores: Mapping[str, Interval], suffix: str = "") -> dict[str, Any]:
    means = {f"{name}{suffix}": interval.mean for name, interval in scores.items()}
    return means | {f"{name}{suffix}_half_width_95": interval.half_width for name, interval in scores.items()}


def _run(run: PlannedRun) -> dict[str, Any]:
    record = {} if run.record is None else run.record.model_dump(mode="json", exclude={"spec", "id"})
    spec = run.spec.portable.model_dump(mode="json", exclude={"trial"})
    if run.state == "waiting":
        return {"state": run.state, "id": None, "spec": spec | {"stages": None}}
    return {"state": run.state, "id": run.spec.id, "spec": spec} | record
