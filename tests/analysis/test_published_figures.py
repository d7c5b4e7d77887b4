"""Published figures beside ours."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from scipy import stats

from benchmark.analysis.published import Compared, Source, compare, load_sources
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.file import experiments_folder
from benchmark.matrix.matrix import expand
from benchmark.records.store import Store
from benchmark.report.sections.published import published
from tests.report import made_up


def hotdog() -> Source:
    return next(s for s in load_sources(experiments_folder() / "published") if s.matrix == "hotdog")


def compared(folder: Path, losses: list[float], overrides: list[str] | None = None) -> tuple[list[Compared], str]:
    """Return the figures of the hotdog matrix with a training loss by seed, and how the report shows them."""
    matrix = file.load(file.find("hotdog"), overrides or [])
    store = Store(folder / "results")
    for spec in expand(matrix):
        if spec.seed < len(losses):
            record, predictions = made_up.record_of(spec, made_up.latent()(spec))
            last = record.history[-1].model_copy(update={"train_loss": losses[spec.seed]})
            accuracy = 0.93 + spec.seed / 100
            changes = {"history": (*record.history[:-1], last), "last_epoch_test_accuracy": accuracy}
            store.save(record.model_copy(update=changes), predictions)
    results = made_up.results_of(matrix, store)
    return compare(hotdog(), results), published([hotdog()], [], results)


def test_the_published_figures_of_hotdog_are_the_sources() -> None:
    stated = {(figure.policy, figure.metric): figure.value for figure in hotdog().figures}
    assert stated == {
        ("finetune-10x", "last_epoch_test_accuracy"): 0.941,
        ("finetune-10x", "last_epoch_train_loss"): 0.238,
        ("scratch", "last_epoch_test_accuracy"): 0.791,
        ("scratch", "last_epoch_train_loss"): 0.403,
    }
    assert {(f.dataset, f.input_mode, f.model) for f in hotdog().figures} == {("hotdog", "rgb", "torchvision/resnet18")}
    (left_out,) = hotdog().not_compared
    assert "0.910" in left_out
    assert "0.821" in left_out
    assert hotdog().differs


def test_a_published_figure_is_judged_by_the_prediction_interval_of_one_more_run(tmp_path: Path) -> None:
    losses = [0.20, 0.24, 0.25]
    (accuracy, loss, of_scratch, _), text = compared(tmp_path, losses)
    assert accuracy.ours == pytest.approx(0.94)
    assert accuracy.difference == pytest.approx(0.94 - 0.941)
    assert (accuracy.within, of_scratch.within) == (True, False)
    expected = float(stats.t.ppf(0.975, 2)) * statistics.stdev(losses) * (1 + 1 / 3) ** 0.5
    assert loss.half_width == pytest.approx(expected)
    assert loss.ours == pytest.approx(0.23)
    first, *_, last = [line for line in text.splitlines() if line.startswith("| hotdog")]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[4:] == ["94.1", "94.0", "−0.1", "± 5.0", "3 of 3", "within"]
    assert "| 0.403 | 0.230 | −0.173 | ± 0.131 | 3 of 3 | outside |" in last
    assert "What differs in the set-up:" in text
    assert "Not compared: its training accuracies" in text


def test_two_seeds_judge_no_figure_and_none_is_not_run(tmp_path: Path) -> None:
    (two, *_), text = compared(tmp_path, [0.2, 0.3])
    assert (two.within, two.half_width) == (None, None)
    assert two.ours == pytest.approx(0.935)
    assert "| 2 of 3 | too few seeds |" in text
    (none, *_), text = compared(tmp_path / "empty", [])
    assert (none.ours, none.difference, none.within) == (None, None, None)
    assert "| 0 of 3 | not run |" in text


def test_another_experiment_under_the_same_names_is_not_compared(tmp_path: Path) -> None:
    other, text = compared(tmp_path, [0.2, 0.3, 0.4], ["training.epochs=2"])
    assert {(item.as_published, item.ours) for item in other} == {(False, None)}
    assert "not run: this matrix trains otherwise" in text
    same, _ = compared(tmp_path / "threads", [0.2, 0.3, 0.4], ["threads=2", "seeds=[0, 1, 2, 3]"])
    assert {item.as_published for item in same} == {True}
    assert [len(item.values) for item in same] == [3] * 4


def test_a_matrix_without_the_cells_shows_nothing_of_a_source() -> None:
    matrix, store = made_up.matrix(), Store(Path("nowhere"))
    results = made_up.results_of(matrix, store)
    assert compare(hotdog(), results) == []
    assert published([hotdog()], [], results) == ""


def test_figures_without_their_matrix_are_refused(tmp_path: Path) -> None:
    stated = "{dataset: hotdog, input_mode: rgb, policy: scratch, model: torchvision/resnet18, metric: M, value: 1.0}"
    (tmp_path / "a.yaml").write_text("source: x\nfigures: [" + stated.replace("M,", "last_epoch_train_loss,") + "]\n")
    with pytest.raises(UserError, match="figures need the matrix"):
        load_sources(tmp_path)
    (tmp_path / "a.yaml").write_text(f"source: x\nmatrix: hotdog\nfigures: [{stated}]\n")
    with pytest.raises(UserError, match=r"figures\.0\.metric"):
        load_sources(tmp_path)
