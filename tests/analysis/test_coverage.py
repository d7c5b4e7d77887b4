"""How often the 95 % intervals hold the truth, by simulation; `tests/analysis/coverage.md` has the whole table."""

from __future__ import annotations

import pytest

from tests.analysis.simulation import WORLDS, coverage

SIMULATIONS = 500
FOUR_SIGMA = 0.04
"""Four standard errors of a share of 0.95 in 500 simulations."""


@pytest.mark.slow
@pytest.mark.parametrize("images", [128, 372])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_of_differences_cover_the_truth_from_three_seeds_on(world: str, seeds: int, images: int) -> None:
    found = coverage(WORLDS[world], seeds, images, SIMULATIONS)
    assert found.difference >= 0.95 - FOUR_SIGMA
    if seeds >= 5:
        assert found.cell >= 0.95 - 1.5 * FOUR_SIGMA


@pytest.mark.slow
@pytest.mark.parametrize("world", [name for name in WORLDS if name.startswith("no difference")])
def test_no_difference_is_called_one_in_about_five_of_a_hundred_matrices(world: str) -> None:
    assert coverage(WORLDS[world], 3, 128, SIMULATIONS).verdict <= 0.05 + FOUR_SIGMA


def test_a_few_simulations_cover_the_truth() -> None:
    assert coverage(WORLDS["small difference"], 3, 128, 60).difference >= 0.85
