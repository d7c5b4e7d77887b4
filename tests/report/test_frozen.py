"""Records of real runs, four of them spoilt (`tests/report/freeze.py`), and the report that they must give."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark import groups_file, matrix_file, report
from benchmark.matrix import Matrix, expand
from benchmark.plan import Plan, make_plan
from benchmark.report import page
from benchmark.store import Store
from tests.report.freeze import DAMAGED, FAILED, FOLDER, MISSING, STALE

TEXTS = ("report.md", "table.csv", "differences.csv", "table.tex")


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
    for name in (*TEXTS, "report.html", "runs.parquet", "report.sha256"):
        (store.folder / name).unlink()
    report.write(matrix, plan, store)  # everything anew, each figure drawn
    for name in TEXTS:
        assert (store.folder / name).read_bytes() == (FOLDER / name).read_bytes(), name
    made, golden = ((folder / "report.html").read_text(encoding="utf-8") for folder in (store.folder, FOLDER))
    assert page.without_drawings(made) == page.without_drawings(golden)
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


@pytest.mark.slow
def test_one_changed_byte_in_any_file_of_the_golden_report_is_drift(frozen: tuple[Matrix, Plan, Store]) -> None:
    matrix, plan, store = frozen
    given = {"matrix.yaml", groups_file.FILE}
    outputs = [path for path in store.folder.iterdir() if path.is_file() and path.name not in given]
    outputs += list((store.folder / "figures").iterdir())
    assert len(outputs) == 7 + 14
    for path in outputs:
        content = path.read_bytes()
        at = len(content) * 2 // 3
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        name = path.relative_to(store.folder).as_posix()
        drift = report.check(matrix, plan, store)
        assert len(drift) == 1
        assert name in drift[0] or name == "report.sha256"  # the hash of a file, or the file: nobody knows
        path.write_bytes(content)
