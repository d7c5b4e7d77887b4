"""Records of real runs, four of them spoilt (`tests/report/freeze.py`), and the report that they must give."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmark import matrix_file, report
from benchmark.matrix import Matrix, expand
from benchmark.plan import Plan, make_plan
from benchmark.store import Store
from tests.report.freeze import DAMAGED, FAILED, FOLDER, MISSING, STALE

TEXTS = ("report.md", "table.csv", "differences.csv", "table.tex", "figures.json")


@pytest.fixture
def frozen(tmp_path: Path) -> tuple[Matrix, Plan, Store]:
    """The frozen results, copied to where they may be changed."""
    store = Store(shutil.copytree(FOLDER, tmp_path / FOLDER.name))
    matrix = matrix_file.load(store.folder / "matrix.yaml")
    return matrix, make_plan(expand(matrix), store), store


def test_the_frozen_records_give_the_golden_report_byte_for_byte(frozen: tuple[Matrix, Plan, Store]) -> None:
    matrix, plan, store = frozen
    assert report.check(matrix, plan, store) == []
    shutil.rmtree(store.folder / "figures")
    for name in (*TEXTS, "report.html", "runs.parquet"):
        (store.folder / name).unlink()
    report.write(matrix, plan, store)
    for name in TEXTS:
        assert (store.folder / name).read_bytes() == (FOLDER / name).read_bytes(), name
    made, golden = ((folder / "report.html").read_text(encoding="utf-8") for folder in (store.folder, FOLDER))
    drawings = re.compile("<svg.*?</svg>", re.DOTALL)  # of this version of Matplotlib
    assert drawings.sub("", made) == drawings.sub("", golden)
    names = {path.name for path in (FOLDER / "figures").iterdir()}
    assert {path.name for path in (store.folder / "figures").iterdir()} == names
    assert report.check(matrix, plan, store) == []


def test_what_failed_is_stale_missing_or_damaged_is_told_and_not_averaged(frozen: tuple[Matrix, Plan, Store]) -> None:
    _, plan, _ = frozen
    states = ["done"] * 12
    states[FAILED], states[STALE], states[MISSING], states[DAMAGED] = "failed", "stale", "pending", "damaged"
    assert [run.state for run in plan.runs] == states
    golden = (FOLDER / "report.md").read_text(encoding="utf-8")
    assert "12 runs asked for: 8 done, 1 failed, 1 stale, 1 damaged, 1 pending." in golden
    assert "4 of 12 runs are not done" in golden.partition("## Runs")[0]
    cells = golden.partition("## Test accuracy")[2].partition("## Paired")[0]
    assert cells.count("(n=2)") == 4
    assert f"(`{plan.runs[FAILED].spec.id}`): failed, " in golden
    assert f"`records/{plan.runs[DAMAGED].spec.id}.json`" in golden
