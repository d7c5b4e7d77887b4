"""Calibration error and confusion, by hand and against torchmetrics' definition."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.analysis.quality import calibration_error, confusion, recalls


def test_the_calibration_error_agrees_with_a_computation_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.35, 0.65]])
    correct = np.array([1, 0, 1, 0])
    # Ten bins: 0.9 in (0.8, 0.9]; 0.95 in (0.9, 1]; 0.6 in (0.5, 0.6]; 0.65 in (0.6, 0.7].
    expected = (abs(1 - 0.9) + abs(0 - 0.95) + abs(1 - 0.6) + abs(0 - 0.65)) / 4
    assert calibration_error(probabilities, correct, bins=10) == pytest.approx(expected)


def test_images_in_one_bin_are_averaged_before_the_gap_is_taken() -> None:
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert calibration_error(probabilities, np.array([1, 1, 1, 0]), bins=10) == pytest.approx(0.0)


def test_a_sure_and_right_network_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    sure = np.tile([1.0, 0.0], (5, 1))
    assert calibration_error(sure, np.ones(5, dtype=int)) == 0
    assert calibration_error(sure, np.zeros(5, dtype=int)) == 1


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        calibration_error(np.ones((3, 2)), np.ones(4))


def test_rows_of_the_confusion_are_true_classes_and_recall_is_by_row() -> None:
    counts = confusion(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert recalls(counts) == [pytest.approx(1 / 3), 1.0, None]
