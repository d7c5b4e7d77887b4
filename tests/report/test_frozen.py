"""Records of real runs, four of them spoilt (`tests/report/freeze.py`), and the report that they must give."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmark.analysis.results import Results
from benchmark.matrix import file
from benchmark.records.store import Store
from benchmark.report import build
from tests import factories
from tests.report.freeze import DAMAGED, FAILED, FOLDER, MISSING, STALE

TEXTS = ("report.md", "table.csv", "differences.csv", "floor.csv", "table.tex", "figures.json")


@pytest.fixture
def frozen(tmp_path: Path) -> Results:
    """The frozen results, copied to where they may be changed."""
    store = Store(shutil.copytree(FOLDER, tmp_path / FOLDER.name))
    matrix = file.load(store.folder / "matrix.yaml")
    return factories.results_of(matrix, store)


def test_the_frozen_records_give_the_golden_report_byte_for_byte(frozen: Results) -> None:
    folder = frozen.store.folder
    assert build.check(frozen, folder) == []
    shutil.rmtree(folder / "figures")
    for name in (*TEXTS, "report.html", "runs.parquet"):
        (folder / name).unlink()
    build.write(frozen, folder)
    for name in TEXTS:
        assert (folder / name).read_bytes() == (FOLDER / name).read_bytes(), name
    made, golden = ((place / "report.html").read_text(encoding="utf-8") for place in (folder, FOLDER))
    drawings = re.compile("<svg.*?</svg>", re.DOTALL)  # of this version of Matplotlib
    assert drawings.sub("", made) == drawings.sub("", golden)
    names = {path.name for path in (FOLDER / "figures").glob("*.svg")}  # git keeps no PNG
    assert {path.name for path in (folder / "figures").glob("*.svg")} == names
    assert build.check(frozen, folder) == []


def test_failed_stale_missing_and_damaged_runs_are_reported_and_not_averaged(frozen: Results) -> None:
    plan = frozen.plan
    states = ["done"] * 12
    states[FAILED], states[STALE], states[MISSING], states[DAMAGED] = "failed", "stale", "pending", "damaged"
    assert [run.state for run in plan.runs] == states
    golden = (FOLDER / "report.md").read_text(encoding="utf-8")
    assert "12 runs asked for: 8 done, 1 failed, 1 stale, 1 damaged, 1 pending." in golden
    assert "## The answer\n\n**Preliminary:** 8 of 12 runs are done.\n" in golden
    cells = golden.partition("## Test accuracy")[2].partition("## Paired")[0]
    assert cells.count("(n=2)") == 4
    assert f"(`{plan.runs[FAILED].spec.id}`): failed, " in golden
    assert f"`records/{plan.runs[DAMAGED].spec.id}.json`" in golden
