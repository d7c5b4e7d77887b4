"""Scores, their resamples and confusion, by hand, against independent definitions and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmark.analysis.scores import BINS, SCORES, confusion, quality, recalls
from benchmark.analysis.uncertainty.bootstrap import image_counts, mean_scores
from tests.factories import balanced_accuracy, macro_f1, roc_auc


def once(images: int) -> np.ndarray:
    """Return the one resample that is the images themselves."""
    return np.ones((images, 1))


def made(images: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, predictions and probabilities."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.4), size=images).astype(np.float32)
    return random.integers(0, classes, images), probabilities.argmax(axis=1), probabilities


def calibration_error_by_definition(confidence: np.ndarray, right: np.ndarray) -> float:
    edges = [(k / BINS, (k + 1) / BINS) for k in range(BINS)]
    inside = [(confidence > low) & (confidence <= high) for low, high in edges]
    return float(sum(abs(right[i].mean() - confidence[i].mean()) * i.sum() for i in inside if i.any()) / len(right))


def test_the_calibration_error_agrees_with_a_computation_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.58, 0.42], [0.35, 0.65]], dtype=np.float32)
    label = np.array([0, 1, 0, 0])
    # Fifteen bins: 0.9 and 0.92 lie in (13/15, 14/15], 0.58 in (8/15, 9/15], 0.65 in (9/15, 10/15].
    expected = (abs(1 - 0.9 - 0.92) + abs(1 - 0.58) + abs(0 - 0.65)) / 4
    found = quality(label, probabilities.argmax(axis=1), probabilities, once(4))
    assert found.scores[-1] == pytest.approx(expected, abs=1e-6)


def test_a_sure_and_right_network_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    sure = np.tile([1.0, 0.0], (5, 1))
    zeros, ones = np.zeros(5, dtype=int), np.ones(5, dtype=int)
    *_, macro, loss, error = quality(zeros, zeros, sure, once(5)).scores
    assert (macro, loss, error) == (1.0, 0.0, 0.0)
    *_, macro, loss, error = quality(ones, zeros, sure, once(5)).scores
    assert (macro, error) == (0.0, 1.0)
    assert loss == pytest.approx(126 * math.log(2))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 1000))
def test_scores_agree_with_their_definitions(images: int, classes: int, seed: int) -> None:
    label, predicted, probabilities = made(images, classes, seed)
    found = quality(label, predicted, probabilities, once(images))
    loss = -np.log(probabilities.astype(np.float64)[np.arange(images), label]).mean()
    error = calibration_error_by_definition(probabilities.max(axis=1).astype(np.float64), label == predicted)
    area = roc_auc(label, probabilities)
    of_classes = balanced_accuracy(label, predicted), math.nan if area is None else area, macro_f1(label, predicted)
    assert found.scores == pytest.approx((*of_classes, loss, error), abs=1e-5, nan_ok=True)
    assert found.resampled[:, 0] == pytest.approx(found.scores, nan_ok=True)


def test_a_resample_scores_as_its_images_written_out_one_by_one() -> None:
    label, predicted, probabilities = made(40, 3, 1)
    counts = image_counts(40)
    found = quality(label, predicted, probabilities, counts)
    for b in (0, 7):
        drawn = np.repeat(np.arange(40), counts[:, b].astype(int))
        written_out = quality(label[drawn], predicted[drawn], probabilities[drawn], once(40))
        assert found.resampled[:, b] == pytest.approx(written_out.scores, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize(("classes", "decimals"), [(2, 7), (2, 1), (3, 7), (5, 1), (20, 7)])
def test_resampled_scores_equal_those_of_scikit_learn_with_weights(classes: int, decimals: int) -> None:
    """Rounded probabilities are tied; most resamples lack one of 20 classes."""
    label, predicted, probabilities = made(60, classes, 3)
    probabilities = probabilities.round(decimals)
    counts = image_counts(60)
    found = quality(label, predicted, probabilities, counts)
    for b, weights in enumerate(counts.T[:20]):
        drawn = np.unique(label[weights > 0])[classes == 2 :]
        areas = [roc_auc_score(label == k, probabilities[:, k], sample_weight=weights) for k in drawn]
        balanced = balanced_accuracy_score(label, predicted, sample_weight=weights)
        assert found.resampled[:2, b] == pytest.approx((balanced, np.mean(areas)), abs=1e-12)


def test_a_roc_auc_is_undefined_without_two_classes_and_left_out_of_resamples_without() -> None:
    _, predicted, probabilities = made(20, 2, 4)
    nothing = quality(np.zeros(20, dtype=int), predicted, probabilities, image_counts(20))
    assert math.isnan(nothing.scores[1])
    found = mean_scores([nothing], 20, None, 20, None)
    assert tuple(found) == tuple(name for name in SCORES if name != "roc_auc")
    middle = np.argsort(probabilities[:, 1])[10]
    one = quality(np.eye(20, dtype=int)[middle], predicted, probabilities, image_counts(20))
    assert 100 < np.count_nonzero(np.isnan(one.resampled[1])) < 300  # (19 / 20)^20 = 36 % of 500
    interval = mean_scores([one], 20, None, 20, None)["roc_auc"]
    assert interval.mean == one.scores[1]
    assert interval.half_width is not None
    assert 0 < interval.half_width < 1


def test_the_order_of_the_images_changes_no_bit_of_the_scores() -> None:
    label, predicted, probabilities = made(500, 4, 2)
    order = np.random.default_rng(0).permutation(500)
    straight = quality(label, predicted, probabilities, once(500))
    assert quality(label[order], predicted[order], probabilities[order], once(500)).scores == straight.scores


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        quality(np.ones(4, dtype=int), np.ones(4, dtype=int), np.ones((3, 2)), once(4))


def test_rows_of_the_confusion_are_true_classes_and_recall_is_by_row() -> None:
    counts = confusion(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert recalls(counts) == [pytest.approx(1 / 3), 1.0, None]
