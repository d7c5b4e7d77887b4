"""Results as DataFrames: their types, and that they hold what was measured."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmark.analysis import frames
from benchmark.analysis.published import PolicyClaim, judge
from benchmark.analysis.results import Results
from benchmark.analysis.verdicts import differences
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import CellKey
from tests import factories

MATRIX = factories.grid(datasets=["beans", "elpv"], policies=["finetune", "scratch"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    lacking = expand(MATRIX)[0]
    store = factories.fill(
        tmp_path_factory.mktemp("frames"), MATRIX, factories.latent(), keep=lambda spec: spec.cell != lacking.cell
    )
    return factories.results_of(MATRIX, store)


def types(frame: pd.DataFrame, *columns: str) -> list[str]:
    return [str(frame[column].dtype) for column in columns]


def test_cells_have_a_row_each_with_typed_columns_and_what_is_not_known_is_missing(results: Results) -> None:
    frame = frames.cells(results)
    assert tuple(frame.columns) == frames.CELL_COLUMNS
    columns = ("dataset", "seeds_done", "accuracy", "best_of_dataset")
    assert types(frame, *columns) == ["string", "Int64", "float64", "boolean"]
    assert len(frame) == 12
    pending = frame[frame["seeds_done"] == 0]
    assert list(pending["note"]) == ["3 pending", *["not applicable: its images have no colour"] * 2]
    assert pending[["accuracy", "test_images", "best_of_dataset", "interval_over"]].isna().all(axis=None)
    for row in frame[frame["seeds_done"] > 0].to_dict("records"):
        cell = results.by_key[CellKey(**{name: row[name] for name in CellKey._fields})]
        assert cell.accuracy is not None
        assert (row["accuracy"], row["low_95"], row["high_95"]) == (
            cell.accuracy.mean,
            cell.accuracy.low,
            cell.accuracy.high,
        )
        assert row["log_loss_half_width_95"] == cell.scores["log_loss"].half_width


def test_differences_have_a_row_each_those_without_a_common_seed_included(results: Results) -> None:
    found = differences(results)
    frame = frames.differences(found)
    assert tuple(frame.columns) == frames.DIFFERENCE_COLUMNS
    columns = ("family", "seeds_paired", "p_value_adjusted", "headline", "macro_f1_difference")
    assert types(frame, *columns) == ["string", "Int64", "float64", "boolean", "float64"]
    assert list(frame["difference"].isna()) == [each.interval is None for each in found]
    assert 0 < frame["difference"].isna().sum() < len(frame)
    assert [each.interval.mean for each in found if each.interval] == list(frame["difference"].dropna())


def test_claims_have_a_row_per_comparison_with_its_verdict(results: Results) -> None:
    claim = PolicyClaim(text="all", better="finetune", than=("scratch",), datasets=("beans", "elpv"))
    frame = frames.claims(judge([claim], differences(results), results))
    assert tuple(frame.columns) == frames.CLAIM_COLUMNS
    assert list(zip(frame["dataset"], frame["verdict"], strict=True)) == [
        ("beans", "supported"),
        ("elpv", "supported"),
    ]
    assert types(frame, "difference", "said_by_the_source") == ["float64", "boolean"]
