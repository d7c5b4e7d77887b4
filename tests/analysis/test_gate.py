"""Which rows of a report are judged, and how often a report is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.contrasts import Contrast, Family
from benchmark.analysis.differences import Difference
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.pooling import pool
from benchmark.analysis.verdicts import differences, judge_equally, judge_in_order
from benchmark.matrix.run_spec import Setup
from benchmark.report.sections.answer import reading, verdict
from tests import factories
from tests.analysis.test_inference import interval

MODEL = Setup("timm/resnet18", 64)


def row(
    of: Interval | None, dataset: str = "beans", headline: bool = True, family: Family = "channels", first: str = "a"
) -> Difference:
    contrast = Contrast(family, dataset, MODEL, first, "b", "mean" if headline else "one", headline=headline)
    return Difference(contrast, of, (0, 1, 2, 3, 4), 5, 0.01)


def with_mean(rows: list[Difference]) -> list[Difference]:
    headlines = tuple(each for each in rows if each.contrast.headline)
    mean = pool([each.interval for each in headlines if each.interval])
    return [
        *rows,
        Difference(Contrast("channels", "mean", MODEL, "a", "b", headline=True), mean, (0,), 5, 0.01, pooled=headlines),
    ]


CLEAR, UNCLEAR, ALIKE = interval(0.1, 0.01, df=100), interval(0.01, 0.01, df=100), interval(0.0, 0.001, df=100)


def test_a_row_with_a_verdict_hands_half_of_its_level_on_in_equal_parts() -> None:
    rows = [row(CLEAR), row(CLEAR, headline=False), row(ALIKE, headline=False), row(CLEAR, "elpv")]
    found = judge_in_order(with_mean(rows), 0.04)
    assert [each.level for each in found] == [0.005, 0.0025, 0.0025, 0.01, 0.02]
    better, alike = "a is better", "equivalent within 1 point"
    assert [verdict(each) for each in found] == [better, better, alike, better, better]


def test_nothing_is_judged_below_a_row_without_a_verdict() -> None:
    found = judge_in_order([row(UNCLEAR), row(CLEAR, headline=False)], 0.04)
    assert [each.level for each in found] == [0.02, None]
    assert [verdict(each) for each in found] == ["inconclusive", "not judged"]
    found = judge_in_order(with_mean([row(UNCLEAR), row(CLEAR, headline=False), row(UNCLEAR, "elpv")]), 0.04)
    assert [each.level for each in found] == [None, None, None, 0.02]
    assert [reading(each) for each in found[:3]] == ["not judged"] * 3


def test_comparisons_of_a_question_share_its_level_and_have_trees_of_their_own() -> None:
    rows = [row(UNCLEAR), row(CLEAR, headline=False), row(CLEAR, first="c"), row(CLEAR, headline=False, first="c")]
    assert [each.level for each in judge_in_order(rows, 0.04)] == [0.01, None, 0.01, 0.01]


def test_headlines_of_several_datasets_share_a_level_where_no_mean_is_known() -> None:
    assert [each.level for each in judge_in_order([row(CLEAR), row(None, "elpv")], 0.04)] == [0.02, 0.02]


def test_questions_with_a_measured_headline_share_five_percent(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["beans"])
    found = differences(factories.results_of(matrix, factories.fill(tmp_path, matrix, factories.latent())))
    headlines = [each for each in found if each.contrast.headline]
    assert {each.contrast.family for each in headlines} == {"pretraining", "channels", "colour", "stages"}
    assert 0.025 <= math.fsum(each.level or 0.0 for each in headlines) <= 0.05
    assert math.fsum(each.level or 0.0 for each in found) <= 0.05 + 1e-12


def test_policies_that_a_source_compares_share_five_percent() -> None:
    assert [each.level for each in judge_equally([row(CLEAR), row(UNCLEAR)])] == pytest.approx([0.025, 0.025])


def test_equivalence_comes_before_a_difference_that_is_smaller_than_the_margin() -> None:
    (found,) = judge_in_order([row(interval(0.004, 0.001, df=100))], 0.05)
    assert found.sign == 1
    assert verdict(found) == "equivalent within 1 point"


def wrong(found: list[Difference], truths: list[float]) -> Iterator[bool]:
    for each, truth in zip(found, truths, strict=True):
        yield each.is_equivalent and abs(truth) >= each.margin
        yield not each.is_equivalent and each.sign != 0 and each.sign != np.sign(truth)


@pytest.mark.parametrize("truth", [0.0, *(pytest.param(truth, marks=pytest.mark.slow) for truth in (0.01, -0.004))])
def test_at_most_five_percent_of_reports_have_a_wrong_verdict_anywhere(truth: float) -> None:
    random = np.random.default_rng(3)
    reports = 2000
    errors = 0
    for _ in range(reports):
        found, truths = [], []
        for _ in range(2):  # questions
            rows = []
            for dataset in ("beans", "elpv", "rps"):
                mean = truth + random.normal() * 0.004
                others = [truth + random.normal() * 0.006 for _ in range(2)]
                rows.append(row(interval(mean, 0.004, df=1e6), dataset))
                rows += [row(interval(other, 0.006, df=1e6), dataset, headline=False) for other in others]
            found += judge_in_order(with_mean(rows), 0.025)
            truths += [truth] * (len(rows) + 1)
        errors += any(wrong(found, truths))
    assert errors / reports <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / reports)
