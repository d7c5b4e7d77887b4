"""How often the 95 % intervals hold the truth, in a few worlds; `experiments/studies/interval_coverage.md` has many."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.analysis.scores import SCORES
from benchmark.analysis.uncertainty.design import Design
from experiments.studies.interval_coverage import coverage, grouped_images, scored_coverage
from experiments.studies.worlds import GROUPED_WORLDS, WORLDS
from tests.analysis.intervals import difference_of


def test_intervals_of_three_seeds_hold_the_truth() -> None:
    found = coverage(WORLDS["small difference"], 3, 128, 100)
    assert found.difference >= 0.90
    assert found.cell >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("world", ["no difference", "no difference, seeds matter"])
def test_verdicts_in_a_world_without_a_difference_are_rare(world: str) -> None:
    found = coverage(WORLDS[world], 3, 128, 400)
    assert found.difference >= 0.90
    assert max(found.supported, found.contradicted) <= 0.05


@pytest.mark.slow
def test_intervals_hold_the_truth_where_two_percent_of_the_images_decide() -> None:
    assert coverage(WORLDS["one never errs, one on 2 % of images"], 3, 128, 400).difference >= 0.95


def test_images_of_a_group_taken_as_independent_give_wrong_verdicts() -> None:
    world, of_image = GROUPED_WORLDS["no difference, groups decide"], grouped_images(12)
    random = np.random.default_rng(8)
    wrong = {"images": 0, "groups": 0}
    for _ in range(200):
        first, second = world.pair(5, len(of_image), random, of_image)
        wrong["images"] += difference_of(first - second).sign != 0
        wrong["groups"] += difference_of(first - second, Design(groups=of_image)).sign != 0
    assert wrong["images"] > 60
    assert wrong["groups"] < 10


@pytest.mark.slow
def test_a_score_of_the_crossed_bootstrap_covers_its_truth() -> None:
    found = scored_coverage(WORLDS["large difference"], 5, 128, 60)
    assert tuple(found) == SCORES
    assert min(of_score.difference for of_score in found.values()) >= 0.85
