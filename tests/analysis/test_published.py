"""Published claims with their verdicts, and published figures next to ours."""

from __future__ import annotations

import re
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis import frames
from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.differences import Difference
from benchmark.analysis.published import (
    ComparedFigure,
    JudgedClaim,
    PolicyClaim,
    QuestionClaim,
    Source,
    Verdict,
    compare,
    judge,
    load_sources,
    overall_verdict,
    verdict,
)
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.verdicts import differences
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.file import experiments_folder
from benchmark.matrix.run_spec import RunSpec, Setup
from benchmark.records.store import Store
from benchmark.report.sections.published import published
from tests import factories

CLAIM = QuestionClaim(text="first wins", question="channels", better="first", datasets=("beans",))
CONTRAST = Contrast("channels", "beans", Setup("timm/x", 96), "grey-3ch", "grey-1ch", "finetune", (), headline=True)


def difference(mean: float, half_width: float, level: float | None) -> Difference:
    """Return a measured difference that is judged at a level."""
    error = half_width / float(stats.t.ppf(0.975, 8))
    interval = Interval(mean, mean - half_width, mean + half_width, error, 8.0, 5, 2000, "seeds and images")
    return Difference(CONTRAST, interval, (0, 1, 2, 3, 4), 5, 0.01, level)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (difference(0.05, 0.02, 0.05), "supported"),
        (difference(-0.05, 0.02, 0.05), "contradicted"),
        (difference(0.05, 0.02, 0.0001), "undecided"),
        (difference(0.05, 0.02, None), "undecided"),
        (difference(0.01, 0.05, 0.05), "undecided"),
        (difference(0.001, 0.004, 0.05), "contradicted"),
        (difference(0.006, 0.004, 0.05), "contradicted"),
        (Difference(CONTRAST, None, (), 5, 0.01), "not run"),
    ],
)
def test_a_claim_is_supported_contradicted_undecided_or_not_run(measured: Difference, expected: str) -> None:
    assert verdict(CLAIM, measured) == expected


def test_the_claim_of_the_other_side_turns_the_verdict_round() -> None:
    other = CLAIM.model_copy(update={"better": "second"})
    assert verdict(other, difference(0.05, 0.02, 0.05)) == "contradicted"
    assert verdict(other, difference(-0.05, 0.02, 0.05)) == "supported"


def test_the_matrixs_margin_decides_what_contradicts_a_claim() -> None:
    assert verdict(CLAIM, replace(difference(0.001, 0.004, 0.05), margin=0.003)) == "undecided"
    assert verdict(CLAIM, replace(difference(0.01, 0.05, 0.05), margin=0.10)) == "contradicted"


def test_two_seeds_support_nothing() -> None:
    clear = difference(0.5, 0.01, 0.05)
    assert clear.interval is not None
    assert verdict(CLAIM, replace(clear, interval=replace(clear.interval, seeds=2))) == "undecided"


def results_of(store: Store | None = None, **changes: Any) -> Results:
    matrix, store = factories.grid(**changes), store or Store(Path("nowhere"))
    return factories.results_of(matrix, store)


def test_a_claim_counts_for_the_source_only_on_its_own_complete_datasets() -> None:
    complete, part = results_of(datasets=["beans"]), results_of(datasets=[{"name": "beans", "limit": 100}])
    found = [difference(0.05, 0.02, 0.05)]
    for results, expected in ((complete, True), (part, False)):
        judged = judge([CLAIM], found, results)
        assert [item.by_the_source for item in judged[CLAIM]] == [expected]


SIZES: dict[str, Any] = {
    "datasets": [{"name": "beans", "limit": 40, "label": "small"}, {"name": "beans", "label": "large"}],
    "policies": ["finetune-whole", "feature-extract"],
}


def test_a_claim_about_policies_is_judged_on_the_datasets_that_it_names(tmp_path: Path) -> None:
    matrix = factories.grid(**SIZES)
    results = results_of(factories.fill(tmp_path, matrix, factories.latent(images=600)), **SIZES)
    right = PolicyClaim(text="all", better="finetune-whole", than=("feature-extract",), datasets=("large",))
    wrong = PolicyClaim(
        text="last", better="feature-extract", than=("finetune-whole",), datasets=("small", "elsewhere")
    )
    absent = PolicyClaim(text="none", better="scratch", than=("feature-extract",), datasets=("large",))
    judged = judge([right, wrong, absent], differences(results), results)
    shown = [[(j.difference.contrast.dataset, j.verdict, j.by_the_source) for j in own] for own in judged.values()]
    assert shown == [[("large", "supported", False)], [("small", "contradicted", False)], []]
    (first,), (second,) = judged[right], judged[wrong]
    assert first.difference.contrast.context == "mean of grey-3ch and grey-1ch"
    assert first.difference.interval is not None
    assert second.difference.interval is not None
    assert [item.difference.level for item in (first, second)] == pytest.approx([0.025, 0.025])


def test_a_policy_said_to_be_best_is_compared_with_each_other_one_on_every_dataset_the_source_speaks_of() -> None:
    results = results_of(**{**SIZES, "policies": ["finetune", "finetune-whole", "feature-extract"]})
    others = ("feature-extract", "finetune")
    claim = PolicyClaim(text="best", better="finetune-whole", than=others, datasets=None)
    tested = judge([claim], differences(results), results)[claim]
    contrasts = [judged.difference.contrast for judged in tested]
    assert [(contrast.dataset, contrast.second) for contrast in contrasts] == [
        (dataset, other) for dataset in ("small", "large") for other in others
    ]
    assert {contrast.first for contrast in contrasts} == {"finetune-whole"}


def with_verdicts(*verdicts: Verdict) -> list[JudgedClaim]:
    return [JudgedClaim(difference(0.0, 0.1, None), verdict, by_the_source=False) for verdict in verdicts]


def test_such_a_claim_is_supported_by_all_of_its_comparisons_and_contradicted_by_one() -> None:
    assert overall_verdict(with_verdicts("supported", "supported")) == "supported"
    assert overall_verdict(with_verdicts("supported", "undecided", "contradicted")) == "contradicted"
    assert overall_verdict(with_verdicts("supported", "undecided", "not run")) == "undecided"
    assert overall_verdict(with_verdicts("supported", "not run")) == "not run"


def test_no_policy_stands_for_one_that_the_matrix_does_not_have(tmp_path: Path) -> None:
    sets = [{"name": "beans", "label": "small similar"}, {"name": "elpv", "label": "small different"}]
    policies = ["finetune-whole", "freeze-early", "feature-extract"]
    matrix = factories.grid(datasets=sets, input_modes=["grey-1ch"], policies=policies)
    results = factories.results_of(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    text = published([shipped()["size-similarity"]], [], results) + published([shipped()["thumbs"]], [], results)
    assert "earlier features works better than one on the last**: not tested, this matrix does not have" in text
    assert re.search(r"\*\*small and similar: finetuning everything overfits[^|]*: \w+ in 1 of 1 comparison\.", text)
    assert re.search(r"\*\*small and different: train only the last layer\*\*: \w+ \(.* of 2 comparisons\)\.", text)
    assert "**large and similar: freeze the early layers, train the rest**: not tested, this matrix does not" in text


def test_the_answer_about_pretraining_is_tested_by_the_policies_that_the_source_trains() -> None:
    results = results_of(policies=["finetune", "feature-extract", "scratch"])
    article = shipped()["article"]
    pretraining, channels = judge(article.claims, differences(results), results).values()
    assert {judged.difference.contrast.first for judged in pretraining} == {"finetune"}
    assert {judged.difference.contrast.first for judged in channels} == {"grey-3ch"}


def shipped() -> dict[str, Source]:
    folder = experiments_folder() / "published"
    return dict(zip((path.stem for path in sorted(folder.glob("*.yaml"))), load_sources(folder), strict=True))


def test_a_claim_is_judged_at_each_size(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"policies": ["finetune", "scratch"]}
    changes["training"] = {"epochs": 6, "head_epochs": 2, "image_size": [96, 64]}

    def correct(spec: RunSpec) -> np.ndarray:
        better = "finetune" if spec.image_size == 96 else "scratch"
        return (np.arange(100) >= (20 if spec.policy == better else 60) + spec.seed).astype(np.int64)

    results = results_of(factories.fill(tmp_path, factories.grid(**changes), correct), **changes)
    claim = PolicyClaim(text="first", better="finetune", than=("scratch",), datasets=("beans",))
    question = QuestionClaim(text="pretrained", question="pretraining", better="first", datasets=())
    judged = judge([claim, question], differences(results), results)
    for each in (claim, question):
        verdicts = {item.difference.contrast.setup.image_size: item.verdict for item in judged[each]}
        assert verdicts == {96: "supported", 64: "contradicted"}
    assert list(frames.claims(judged)["image_size"]) == [96, 64] * 2
    text = published([Source(source="x", claims=(claim,))], [], results)
    assert "**first**: supported (96 px), contradicted (64 px) (supported in 1 and contradicted in 1 of 2" in text


def test_the_shipped_claims_are_those_of_the_sources() -> None:
    sources = shipped()
    claims = {
        name: [(claim.better, claim.than, claim.datasets) for claim in source.claims if isinstance(claim, PolicyClaim)]
        for name, source in sources.items()
    }
    last, early, whole = "feature-extract", "freeze-early", "finetune-whole"
    assert claims == {
        "article": [],
        "finetune-vs-features": [(whole, (last,), ("rps large",))],
        "head-first": [("finetune", (whole, last), None), (whole, (last,), None)],
        "hotdog": [],
        "medmnist": [],
        "medmnist-replication": [],
        "size-similarity": [
            (last, (whole,), ("small similar",)),
            (whole, (last,), ("large similar",)),
            ("truncate", (last, whole), ("small different",)),
            (whole, ("scratch",), ("large different",)),
        ],
        "thumbs": [
            (last, (early, whole), ("small similar",)),
            (last, (early, whole), ("small different",)),
            (early, (last, whole), ("large similar",)),
            (whole, (last, early, "scratch"), ("large different",)),
        ],
    }
    questions = [claim.question for claim in sources["article"].claims if isinstance(claim, QuestionClaim)]
    assert questions == ["pretraining", "channels"]


@pytest.mark.parametrize(
    ("name", "matrix", "comparisons"),
    [
        ("finetune-vs-features", "finetune-vs-features", [1]),
        ("size-similarity", "size-similarity", [1, 1, 2, 1]),
        ("thumbs", "size-similarity", [2, 2, 2, 3]),
        ("head-first", "cpu", [6, 3]),
    ],
)
def test_each_claim_about_policies_is_held_by_its_matrix(name: str, matrix: str, comparisons: list[int]) -> None:
    results = factories.results_of(file.load(file.find(matrix)), Store(Path("nowhere")))
    judged = judge(shipped()[name].claims, differences(results), results)
    assert [[item.verdict for item in own] for own in judged.values()] == [["not run"] * n for n in comparisons]


def hotdog() -> Source:
    return shipped()["hotdog"]


def compared(folder: Path, losses: list[float], overrides: list[str] | None = None) -> tuple[list[ComparedFigure], str]:
    """Return the figures of the hotdog matrix with a training loss by seed, and how the report shows them."""
    matrix = file.load(file.find("hotdog"), overrides or [])
    store = Store(folder / "results")
    for spec in expand(matrix):
        if spec.seed < len(losses):
            record, predictions = factories.record_of(spec, factories.latent()(spec))
            last = record.history[-1].model_copy(update={"train_loss": losses[spec.seed]})
            accuracy = 0.93 + spec.seed / 100
            changes = {"history": (*record.history[:-1], last), "last_epoch_test_accuracy": accuracy}
            store.save(record.model_copy(update=changes), predictions)
    results = factories.results_of(matrix, store)
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
    assert (accuracy.is_within, of_scratch.is_within) == (True, False)
    expected = float(stats.t.ppf(0.975, 2)) * statistics.stdev(losses) * (1 + 1 / 3) ** 0.5
    assert loss.half_width == pytest.approx(expected)
    assert loss.ours == pytest.approx(0.23)
    first, *_, last = [line for line in text.splitlines() if line.startswith("| hotdog")]
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells[4:] == ["94.1", "1", "94.0", "−0.1", "± 5.0", "3 of 3", "within"]
    assert "| 0.403 | 1 | 0.230 | −0.173 | ± 0.131 | 3 of 3 | outside |" in last
    assert "What differs in the set-up:" in text
    assert "Not compared: its training accuracies" in text


def test_a_figure_that_is_the_mean_of_runs_is_judged_by_the_interval_of_the_mean_of_as_many(tmp_path: Path) -> None:
    right = [700, 710, 730]  # of 800 images, the others wrong
    matrix = file.load(file.find("hotdog"))

    def correct(spec: RunSpec) -> np.ndarray:
        return (np.arange(800) < right[spec.seed]).astype(np.int64)

    results = factories.results_of(matrix, factories.fill(tmp_path, matrix, correct))
    place = {"dataset": "hotdog", "input_mode": "rgb", "policy": "scratch", "model": "torchvision/resnet18"}
    stated = {"accuracy": (0.81, 0.006), "roc_auc": (0.9, None)}
    figures = [{**place, "metric": name, "value": v, "sd": sd, "runs": 3} for name, (v, sd) in stated.items()]
    source = Source.model_validate({"source": "x", "matrix": "hotdog", "figures": figures})
    accuracy, auc = compare(source, results)
    half_width = float(stats.t.ppf(0.975, 2)) * statistics.stdev(n / 800 for n in right) * (1 / 3 + 1 / 3) ** 0.5
    assert accuracy.values == tuple(n / 800 for n in right)
    assert accuracy.half_width == pytest.approx(half_width)
    of_one_run = half_width * (1 + 1 / 3) ** 0.5 / (1 / 3 + 1 / 3) ** 0.5
    assert half_width < 2140 / 2400 - 0.81 < of_one_run
    assert accuracy.is_within is False
    areas = [record.test.roc_auc for record in results.by_key[accuracy.key].records.values()]
    assert auc.values == tuple(areas)
    text = published([source], [], results)
    assert "| test accuracy, % | 81.0 ± 0.6 | 3 | 89.2 | +8.2 | ± 6.7 | 3 of 3 | outside |" in text
    assert re.search(r"\| ROC AUC, % \| 90\.0 \| 3 \| \d\d\.\d \|", text)


def test_every_shipped_figure_is_of_a_cell_of_its_matrix() -> None:
    for name, source in shipped().items():
        cells = {spec.cell for spec in expand(file.load(file.find(source.matrix)))} if source.matrix else set()
        assert [figure for figure in source.figures if not any(map(figure.is_about, cells))] == [], name


def test_medmnists_figures_and_their_replication_are_judged_by_our_seeds_on_both_scores(tmp_path: Path) -> None:
    stated = {
        name: {(f.dataset, f.metric): (f.value, f.sd, f.runs) for f in shipped()[name].figures}
        for name in ("medmnist", "medmnist-replication")
    }
    assert stated == {
        "medmnist": {
            ("breastmnist", "roc_auc"): (0.901, None, 3),
            ("breastmnist", "accuracy"): (0.863, None, 3),
            ("pneumoniamnist", "roc_auc"): (0.944, None, 3),
            ("pneumoniamnist", "accuracy"): (0.854, None, 3),
        },
        "medmnist-replication": {
            ("breastmnist", "roc_auc"): (0.874, 0.012, 3),
            ("breastmnist", "accuracy"): (0.806, 0.008, 3),
            ("pneumoniamnist", "roc_auc"): (0.942, 0.014, 3),
            ("pneumoniamnist", "accuracy"): (0.812, 0.054, 3),
        },
    }
    right = [130, 134, 136, 133, 138]  # of breastmnist's 156 test images
    matrix = file.load(file.find("medmnist"))

    def correct(spec: RunSpec) -> np.ndarray:
        return (np.arange(156) < right[spec.seed]).astype(np.int64)

    def keep(spec: RunSpec) -> bool:
        return spec.dataset == "breastmnist" and (spec.input_mode == "grey-1ch" or spec.seed < 2)

    results = factories.results_of(matrix, factories.fill(tmp_path, matrix, correct, keep))
    rows = {
        tuple(cells[:5]): cells[-2:]
        for name in stated
        for line in published([shipped()[name]], [], results).splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])[0] == "breastmnist"
    }
    one_channel, accuracy = ("breastmnist", "grey-1ch", "scratch"), "test accuracy, %"
    assert rows[(*one_channel, accuracy, "86.3")] == ["5 of 5", "within"]
    assert rows[(*one_channel, accuracy, "80.6 ± 0.8")] == ["5 of 5", "outside"]
    assert {cells[3:] for cells in rows if cells[:3] == one_channel} == {
        (accuracy, "86.3"),
        (accuracy, "80.6 ± 0.8"),
        ("ROC AUC, %", "90.1"),
        ("ROC AUC, %", "87.4 ± 1.2"),
    }
    assert rows[("breastmnist", "grey-3ch", "scratch", accuracy, "86.3")] == ["2 of 5", "too few seeds"]


def test_two_seeds_judge_no_figure_and_none_is_not_run(tmp_path: Path) -> None:
    (two, *_), text = compared(tmp_path, [0.2, 0.3])
    assert (two.is_within, two.half_width) == (None, None)
    assert two.ours == pytest.approx(0.935)
    assert "| 2 of 3 | too few seeds |" in text
    (none, *_), text = compared(tmp_path / "empty", [])
    assert (none.ours, none.difference, none.is_within) == (None, None, None)
    assert "| 0 of 3 | not run |" in text


def test_another_experiment_under_the_same_names_is_not_compared(tmp_path: Path) -> None:
    other, text = compared(tmp_path, [0.2, 0.3, 0.4], ["training.epochs=2"])
    assert {(item.as_published, item.ours) for item in other} == {(False, None)}
    assert "not run: this matrix trains differently" in text
    same, _ = compared(tmp_path / "threads", [0.2, 0.3, 0.4], ["threads=2", "seeds=[0, 1, 2, 3]"])
    assert {item.as_published for item in same} == {True}
    assert [len(item.values) for item in same] == [3] * 4


def test_a_figure_is_compared_at_each_size_and_only_that_of_its_source_can_agree(tmp_path: Path) -> None:
    sizes = ["training.image_size=[256, 240]"]
    found, text = compared(tmp_path, [0.2, 0.3, 0.4], sizes)
    assert [(item.key.image_size, item.as_published) for item in found] == [(256, True), (240, False)] * 4
    assert "| hotdog | 256 px | rgb | finetune-10x |" in text
    results = factories.results_of(file.load(file.find("hotdog"), sizes), Store(tmp_path / "results"))
    named = hotdog().figures[0].model_copy(update={"image_size": 240})
    (only,) = compare(hotdog().model_copy(update={"figures": (named,)}), results)
    assert only.key.image_size == 240


def test_a_matrix_without_the_cells_shows_nothing_of_a_source() -> None:
    matrix, store = factories.grid(), Store(Path("nowhere"))
    results = factories.results_of(matrix, store)
    assert compare(hotdog(), results) == []
    assert published([hotdog()], [], results) == ""


FIGURE = "{dataset: hotdog, input_mode: rgb, policy: scratch, model: torchvision/resnet18, metric: M, value: 1.0}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("claims: [{text: a, question: taste, better: first, datasets: []}]", r"claims\.0\.question"),
        ("claims: [{text: a, better: x, than: [y], datasets: []}]", r"claims\.0\.datasets"),
        ("claims: [{text: a, better: x, than: y}]", r"claims\.0\.than"),
        ("claims: [{text: a, better: x, datasets: [b]}]", r"claims\.0\.question"),
        (f"figures: [{FIGURE.replace('M,', 'last_epoch_train_loss,')}]", ".*figures need the matrix"),
        (f"matrix: hotdog\nfigures: [{FIGURE}]", r"figures\.0\.metric"),
    ],
)
def test_a_broken_file_of_a_source_is_named_with_its_key(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(f"source: x\n{content}\n")
    with pytest.raises(UserError, match=rf"bad\.yaml: {message}"):
        load_sources(tmp_path)
