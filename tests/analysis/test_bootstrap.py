"""The crossed bootstrap: its draws, and its variance, which for a mean must be that of the analysis of variance."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from benchmark.analysis.uncertainty.bootstrap import RESAMPLES, image_counts, mean_score
from benchmark.analysis.uncertainty.design import UNTESTED, Design
from tests.analysis.intervals import difference_of


def means(values: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Return each seed's mean over its images, as they are and on each resample."""
    images = values.shape[1]
    return (values.sum(axis=1) / images).tolist(), values @ image_counts(images) / images


def test_the_draws_are_with_replacement_and_the_same_on_every_machine() -> None:
    counts = image_counts(50)
    assert counts.shape == (50, RESAMPLES)
    assert (counts.sum(axis=0) == 50).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(50), abs=0.25)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.03)
    digest = hashlib.sha256(counts.astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("1863569579a0d2e1")


@pytest.mark.parametrize("seed_effect", [0.0, 0.3, 1.5])
def test_for_a_mean_it_gives_the_variance_and_degrees_of_freedom_of_the_analysis_of_variance(
    seed_effect: float,
) -> None:
    random = np.random.default_rng(4)
    margin = random.normal(size=(4, 1)) * seed_effect + random.normal(size=(1, 300)) + random.normal(size=(4, 300))
    values = (margin > -0.3).astype(np.int64)
    wanted, found = difference_of(values), mean_score(*means(values), 300, None)
    assert found.mean == pytest.approx(wanted.mean)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.06)
    assert found.df == pytest.approx(wanted.df, rel=0.25)
    assert found.basis == "seeds and images"


def test_in_a_cross_validation_it_gives_the_variance_of_the_folds() -> None:
    random = np.random.default_rng(6)
    fold = np.arange(400) % 4
    right = (random.normal(size=400) + 0.8 + np.array([0.6, -0.6, 0.3, 0.0])[fold] > 0).astype(np.int64)
    values = np.where(fold[None, :] == np.arange(4)[:, None], right, UNTESTED)
    wanted = difference_of(values, Design(folds=4))
    scored = [means(right[fold == k][None]) for k in range(4)]
    found = mean_score([own[0][0] for own in scored], np.concatenate([own[1] for own in scored]), 400, 4)
    assert found.mean == pytest.approx(wanted.mean)
    assert found.standard_error == pytest.approx(wanted.standard_error, rel=0.1)
    assert (found.basis, found.seeds, found.images) == ("folds", 4, 400)


def test_one_seed_leaves_the_images_alone_and_one_image_nothing() -> None:
    values = (np.random.default_rng(1).random((1, 200)) < 0.7).astype(np.int64)
    found = mean_score(*means(values), 200, None)
    assert found.basis == "images"
    assert found.standard_error == pytest.approx(values.std() / np.sqrt(200), rel=0.06)
    assert mean_score([1.0, 0.0], np.ones((2, RESAMPLES)), 1, None).half_width is None


def test_scores_that_never_change_do_not_claim_to_be_certain_where_few_images_tell() -> None:
    same = np.ones((3, RESAMPLES))
    assert mean_score([1.0] * 3, same, 128, None, informative=0).half_width == pytest.approx(3 / 128)
    assert mean_score([1.0] * 3, same, 128, None).half_width == 0


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        mean_score([1.0, 0.5], np.ones((3, RESAMPLES)), 100, None)
