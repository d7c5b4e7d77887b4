"""The methods of the floor rows, on small generated images."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from threadpoolctl import threadpool_info

from benchmark.data.dataset import PreparedDataset
from benchmark.records.floor import METHODS, FloorRow, Method
from benchmark.records.record import PredictionTable
from benchmark.training import floor
from benchmark.training.floor import STEP, compute_row, score, standardise
from tests import factories
from tests.records.test_floor import ROW


def computed(method: Method, data: PreparedDataset) -> tuple[FloorRow, PredictionTable]:
    return compute_row(ROW.model_copy(update={"method": method}), data)


def noise(labels: int = 2, seed: int = 0, **sizes: int) -> PreparedDataset:
    """Return a dataset that a linear method learns in part: noise, its left half brighter by the class's number."""
    data = factories.dataset(size=8, labels=labels, seed=seed, **sizes)
    label = np.arange(len(data.images)) % labels
    images = np.random.default_rng(seed).normal(110, 40, data.images.shape)
    images[:, :, :4] += 15 * label[:, None, None, None]
    return replace(data, images=np.clip(images, 0, 255).astype(np.uint8))


def test_images_have_mean_0_and_deviation_1_and_exact_products() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 24, 24, 1), dtype=np.uint8)
    images[0], images[1], images[2, 0, 0] = 7, 0, 255
    images[1, 0, 0] = 255  # the largest value there can be
    found = standardise(images)
    assert (found[0] == 0).all()
    np.testing.assert_allclose(found[1:].mean(axis=1), 0, atol=STEP)
    np.testing.assert_allclose(found[1:].std(axis=1), 1, atol=STEP)
    steps = (found / STEP).astype(np.int64)
    assert (steps * STEP == found).all()
    assert (found @ found.T / STEP**2 == steps @ steps.T).all()


def test_majority_is_always_the_most_frequent_training_class_with_the_shares_as_probabilities() -> None:
    data = factories.dataset(train=30, labels=2)
    skewed = replace(data, train=replace(data.train, labels=(np.arange(30) % 3 > 0).astype(np.int64)))
    row, table = computed("majority", skewed)
    assert table.predicted.tolist() == [1] * 20
    np.testing.assert_allclose(table.probabilities, [[1 / 3, 2 / 3]] * 20)
    assert (row.test.accuracy, row.test.balanced_accuracy, row.test.roc_auc) == (0.5, 0.5, 0.5)
    assert row.test.log_loss == pytest.approx(-np.log([1 / 3, 2 / 3]).mean())


@pytest.mark.parametrize(("method", "number"), [("1-nn", 1), ("5-nn", 5)])
def test_nearest_neighbours_vote_by_the_distance_of_standardised_pixels(method: Method, number: int) -> None:
    data = noise(labels=3, train=60)
    row, table = computed(method, data)
    pixels = data.images.reshape(len(data.images), -1).astype(np.float64)
    alike = (pixels - pixels.mean(axis=1, keepdims=True)) / pixels.std(axis=1, keepdims=True)
    squares = ((alike[data.test.rows][:, None] - alike[data.train.rows][None]) ** 2).sum(axis=2)
    votes = data.train.labels[np.argsort(squares, axis=1, kind="stable")[:, :number]]
    expected = [np.bincount(own, minlength=3).argmax() for own in votes]
    assert table.predicted.tolist() == expected
    assert row.test.accuracy == np.mean(expected == data.test.labels)
    assert (row.test.log_loss, row.test.roc_auc, table.probabilities.shape) == (None, None, (20, 0))
    assert row.hyperparameters == {"neighbours": number}


def test_five_nearest_neighbours_of_three_training_images_are_three() -> None:
    row, _ = computed("5-nn", factories.dataset(train=3))
    assert row.hyperparameters == {"neighbours": 3}


@pytest.mark.parametrize("labels", [2, 3])
def test_logistic_regression_takes_the_penalty_that_is_best_on_validation(
    labels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(labels=labels, train=60, held_out=60)
    chosen, _ = computed("logistic", data)
    assert chosen.hyperparameters["C"] in floor.INVERSE_PENALTIES
    found = {}
    for c in floor.INVERSE_PENALTIES:
        monkeypatch.setattr(floor, "INVERSE_PENALTIES", (c,))
        row, _ = computed("logistic", data)
        assert row.validation.log_loss is not None
        found[c] = (-row.validation.accuracy, row.validation.log_loss, c)
    assert len({accuracy for accuracy, _, _ in found.values()}) > 2
    assert chosen.hyperparameters["C"] == min(found.values())[2]


@pytest.mark.parametrize("method", METHODS)
def test_brightness_and_contrast_count_for_nothing(method: Method) -> None:
    data = noise()
    dim = replace(data, images=data.images // 3)
    bright = replace(data, images=dim.images * 2 + 50)
    (one, first), (other, second) = computed(method, dim), computed(method, bright)
    assert (first.predicted == second.predicted).all()
    assert one.test.accuracy == other.test.accuracy


def test_a_logistic_regression_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "MOST_ITERATIONS", 2)
    with pytest.raises(Warning, match="failed to converge"):
        computed("logistic", noise())


@pytest.mark.parametrize("method", METHODS)
def test_the_same_images_give_the_same_numbers(method: Method) -> None:
    def decided(row: FloorRow) -> dict[str, Any]:
        return row.model_dump(exclude={"seconds", "finished_at"})

    (first, one), (second, other) = computed(method, noise()), computed(method, noise())
    assert decided(first) == decided(second)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_row_is_computed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    majority = floor._FITS["majority"]

    def looking(*arguments: Any) -> Any:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return majority(*arguments)

    monkeypatch.setattr(floor, "_FITS", {"majority": looking})
    computed("majority", noise())
    assert seen
    assert set(seen) == {1}


@pytest.mark.parametrize("labels", [2, 4])
def test_scores_are_those_of_scikit_learn(labels: int) -> None:
    generator = np.random.default_rng(labels)
    label = generator.integers(0, labels, 200)
    probabilities = generator.dirichlet(np.ones(labels), 200)
    predicted = probabilities.argmax(axis=1)
    found = score(label, predicted, probabilities)
    assert found.accuracy == metrics.accuracy_score(label, predicted)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(label, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(label, predicted, average="macro"))
    assert found.log_loss == pytest.approx(metrics.log_loss(label, probabilities))
    ranked = probabilities[:, 1] if labels == 2 else probabilities
    assert found.roc_auc == pytest.approx(metrics.roc_auc_score(label, ranked, multi_class="ovr"))


def test_a_class_without_images_is_left_out_of_the_scores_and_a_single_class_has_no_roc_auc() -> None:
    label, probabilities = np.zeros(4, np.int64), np.array([[0.5, 0.5, 0.0]] * 4)
    found = score(label, np.array([0, 0, 0, 1]), probabilities)
    assert (found.balanced_accuracy, found.roc_auc) == (0.75, None)
    without = score(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), probabilities)
    assert (without.balanced_accuracy, without.roc_auc) == (1.0, 0.5)


def test_floor_rows_are_computed_without_torch() -> None:
    code = (
        "import sys; from tests.training.test_floor import *; [computed(method, noise()) for method in METHODS]; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
