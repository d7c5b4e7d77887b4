"""What a matrix can show, before and after its runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.resolution import RUN_SD, in_words, resolution
from benchmark.matrix.expand import expand
from benchmark.records.plan import make_plan
from benchmark.records.store import Store
from tests import factories

MATRIX = factories.grid(
    datasets=["beans", "elpv"], seeds=[0, 1, 2, 3], policies=["finetune", "finetune-whole", "scratch"]
)


def test_without_a_done_run_a_stated_default_gives_the_audits_sixteen_seeds(tmp_path: Path) -> None:
    beans, elpv = resolution(MATRIX, make_plan(MATRIX, Store(tmp_path)))
    assert (beans.dataset, beans.run_sd, beans.runs, beans.seeds) == ("beans", RUN_SD, 0, 17)
    error = math.sqrt(2 * 0.014**2 / (2 * 4))
    assert beans.visible == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)
    assert elpv.visible == beans.visible
    text = in_words([beans, elpv], MATRIX)
    assert "- about 2.0 points on beans; for equivalence within 1 it takes about 17 seeds" in text
    assert "runs vary by 1.4 points, assumed: no run is done" in text


def test_done_runs_say_how_much_runs_vary(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, MATRIX, factories.latent(), keep=lambda spec: spec.dataset == "beans")
    plan = make_plan(MATRIX, store)
    beans, elpv = resolution(MATRIX, plan)
    cells: dict[object, list[float]] = {}
    for record in plan.done:
        cells.setdefault(record.spec.cell, []).append(record.test.accuracy)
    assert beans.run_sd == pytest.approx(math.sqrt(np.mean([np.var(own, ddof=1) for own in cells.values()])))
    assert (beans.runs, elpv.runs) == (36, 0)
    assert "as in 36 done runs" in in_words([beans], MATRIX)


def test_what_the_images_of_a_fold_do_to_its_accuracy_is_not_taken_for_what_runs_do(tmp_path: Path) -> None:
    store, rights = Store(tmp_path), {0: 80, 1: 110, 2: 90, 3: 120}
    for spec in expand(MATRIX):
        right = np.arange(128) < rights[spec.seed]
        store.save(*factories.record_of(spec, right.astype(np.int64), dataset={"folds": 5}))
    beans, _ = resolution(MATRIX, make_plan(MATRIX, store))
    shares = np.array([*rights.values()]) / 128
    assert beans.run_sd**2 == pytest.approx(np.var(shares, ddof=1) - np.mean(shares * (1 - shares) / 128))
    error = math.sqrt(beans.run_sd**2 * (1 / 4 + 1 / 4))
    assert beans.visible == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)


def test_a_matrix_without_the_question_has_no_resolution(tmp_path: Path) -> None:
    for changes in ({"input_modes": ["grey-1ch"]}, {"policies": ["scratch"]}):
        matrix = factories.grid(**changes)
        assert resolution(matrix, make_plan(matrix, Store(tmp_path))) == []
    assert in_words([], MATRIX) == ""
