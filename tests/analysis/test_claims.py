"""Published claims and their verdicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from benchmark.analysis.claims import Claim, judge, load_claims, verdict
from benchmark.analysis.differences import Contrast, Difference
from benchmark.analysis.interval import Interval
from benchmark.analysis.results import Results, load
from benchmark.errors import UserError
from benchmark.matrix_file import experiments_folder
from benchmark.store import Store
from tests.report import made_up

CLAIM = Claim(text="first wins", question="channels", better="first", datasets=("beans",))
CONTRAST = Contrast("channels", "beans", "timm/x", "grey-3ch", "grey-1ch", "finetune", (), headline=True)


def difference(mean: float, half_width: float, p: float | None) -> Difference:
    """Return a measured difference with Holm's p-value."""
    error = half_width / float(stats.t.ppf(0.975, 8))
    interval = Interval(mean, mean - half_width, mean + half_width, error, 8.0, 5, 2000, "seeds and images")
    return Difference(CONTRAST, interval, (0, 1, 2, 3, 4), 5, 0.01, p)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (difference(0.05, 0.02, 0.01), "supported"),
        (difference(-0.05, 0.02, 0.01), "contradicted"),
        (difference(0.05, 0.02, 0.20), "undecided"),
        (difference(0.01, 0.05, 0.60), "undecided"),
        (difference(0.001, 0.004, 0.60), "contradicted"),
        (Difference(CONTRAST, None, (), 5, 0.01), "not run"),
    ],
)
def test_a_claim_is_supported_contradicted_undecided_or_not_run(measured: Difference, expected: str) -> None:
    assert verdict(CLAIM, measured) == expected


def test_the_claim_of_the_other_side_turns_the_verdict_round() -> None:
    other = CLAIM.model_copy(update={"better": "second"})
    assert verdict(other, difference(0.05, 0.02, 0.01)) == "contradicted"
    assert verdict(other, difference(-0.05, 0.02, 0.01)) == "supported"


def test_the_matrixs_margin_decides_what_contradicts_a_claim() -> None:
    assert verdict(CLAIM, replace(difference(0.001, 0.004, 0.60), margin=0.003)) == "undecided"
    assert verdict(CLAIM, replace(difference(0.01, 0.05, 0.60), margin=0.10)) == "contradicted"


def test_two_seeds_support_nothing() -> None:
    clear = difference(0.5, 0.01, None)
    assert clear.interval is not None
    assert verdict(CLAIM, replace(clear, interval=replace(clear.interval, seeds=2))) == "undecided"


def test_a_claim_counts_for_the_source_only_on_its_own_whole_datasets() -> None:
    def results(**changes: Any) -> Results:
        matrix, store = made_up.matrix(**changes), Store(Path("nowhere"))
        return load(matrix, made_up.plan_of(matrix, store), store)

    whole, part = results(datasets=["beans"]), results(datasets=[{"name": "beans", "limit": 100}])
    found = [difference(0.05, 0.02, 0.01)]
    assert [item.by_the_source for item in judge(CLAIM, found, whole)] == [True]
    assert [item.by_the_source for item in judge(CLAIM, found, part)] == [False]


def test_the_shipped_claims_are_the_articles_two() -> None:
    (article,) = load_claims(experiments_folder() / "published")
    assert [claim.question for claim in article.claims] == ["pretraining", "channels"]


def test_a_broken_file_of_claims_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("source: x\nclaims: [{text: a, question: taste, better: first, datasets: []}]\n")
    with pytest.raises(UserError, match=r"bad\.yaml: claims\.0\.question"):
        load_claims(tmp_path)
