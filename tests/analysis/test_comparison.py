from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.comparison import compare, rms
from benchmark.analysis.results import Results
from benchmark.errors import UserError
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.store import Store
from benchmark.report import comparison as report
from tests import factories

MADE = factories.grid(input_modes=["grey-1ch"], policies=["finetune", "scratch"], seeds=[0, 1, 2, 3])
IMAGES = 128


def made(folder: Path, right: dict[str, float], matrix: Matrix = MADE, flip: int = 0, **changes: object) -> Results:
    """Return results in which each policy has a share of images right; ``flip`` more are wrong with each seed's run."""

    def correct(spec: RunSpec) -> np.ndarray:
        draw = np.random.default_rng(spec.seed).permutation(IMAGES) < right[spec.policy] * IMAGES
        draw[np.flatnonzero(draw)[: flip * spec.seed]] = False
        return draw.astype(np.int64)

    store = Store(folder)
    for spec in expand(matrix):
        store.save(*factories.record_of(spec, correct(spec), **changes))
    return factories.results_of(matrix, store)


def test_equal_results_have_no_drift_and_no_verdict_turns(tmp_path: Path) -> None:
    found = compare(*(made(tmp_path / name, {"finetune": 0.9, "scratch": 0.6}) for name in "ab"))
    assert found.identical == len(found.drifts) == 8
    assert rms(found.drifts) == 0
    assert found.verdicts
    assert not found.turned
    assert "No verdict turns among" in report.markdown(found)


def test_the_drift_of_each_run_is_counted_image_by_image(tmp_path: Path) -> None:
    right = {"finetune": 0.9, "scratch": 0.6}
    found = compare(made(tmp_path / "a", right), made(tmp_path / "b", right, flip=2))
    assert [(drift.seed, drift.changed) for drift in found.drifts] == [(seed, 2 * seed) for seed in range(4)] * 2
    assert [drift.accuracy for drift in found.drifts] == pytest.approx([-2 * seed / IMAGES for seed in range(4)] * 2)
    assert rms(found.drifts) == pytest.approx(((0 + 4 + 16 + 36) / 4) ** 0.5 / IMAGES)
    assert found.identical == 2
    frame = report.frame(found)
    assert list(frame["images_changed"]) == [0, 2, 4, 6, 0, 2, 4, 6]


def test_a_verdict_that_turns_is_shown_with_both_readings(tmp_path: Path) -> None:
    clear = made(tmp_path / "a", {"finetune": 0.9, "scratch": 0.6})
    reverse = made(tmp_path / "b", {"finetune": 0.6, "scratch": 0.9})
    found = compare(clear, reverse)
    assert [first.contrast.headline for first, _ in found.turned] == [True]
    text = report.markdown(found)
    assert "1 verdict turns among" in text
    assert "finetune is better" in text
    assert "scratch is better" in text


def test_runs_are_paired_by_cell_and_seed_where_threads_give_other_ids_and_others_are_left_out(tmp_path: Path) -> None:
    right = {"finetune": 0.9, "scratch": 0.6}
    threads = factories.grid(input_modes=["grey-1ch"], policies=["finetune", "scratch"], seeds=[1, 2, 3, 4], threads=2)
    found = compare(made(tmp_path / "a", right), made(tmp_path / "b", right, matrix=threads))
    assert len(found.drifts) == 6
    assert found.alone == (2, 2)
    assert "2 only in the first and 2 only in the second, left out" in report.markdown(found)


def test_results_on_other_images_or_without_a_common_run_are_refused(tmp_path: Path) -> None:
    right = {"finetune": 0.9, "scratch": 0.6}
    first = made(tmp_path / "a", right)
    other = made(
        tmp_path / "c", right, matrix=factories.grid(input_modes=["grey-1ch"], policies=["scratch"], seeds=[9])
    )
    with pytest.raises(UserError, match="no run is done in both"):
        compare(first, other)
    cells = {
        key: replace(
            cell,
            records={
                seed: record.model_copy(update={"dataset": record.dataset.model_copy(update={"fingerprint": "0" * 16})})
                for seed, record in cell.records.items()
            },
        )
        for key, cell in first.by_key.items()
    }
    with pytest.raises(UserError, match="different images of beans"):
        compare(first, replace(first, by_key=cells))


def test_the_files_hold_a_row_per_run_and_a_figure(tmp_path: Path) -> None:
    right = {"finetune": 0.9, "scratch": 0.6}
    found = compare(made(tmp_path / "a", right), made(tmp_path / "b", right, flip=1))
    markdown, table, svg, png = report.write(found, tmp_path / "compared")
    assert f"({svg.name})" in markdown.read_text()
    assert len(table.read_text().splitlines()) == 1 + len(found.drifts)
    assert svg.read_text().startswith("<svg")
    assert png.read_bytes().startswith(b"\x89PNG")
