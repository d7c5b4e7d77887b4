"""What accuracy alone does not tell: calibration, and which classes are taken for which."""

from __future__ import annotations

import math

import numpy as np

BINS = 15
"""Bins of the calibration error."""


def calibration_error(probabilities: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error, 0..1 (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    ECE = sum over bins of (images in the bin / all) x |accuracy - mean confidence|, with confidence the largest
    probability and bins of equal width, each without its lower edge: (k / bins, (k + 1) / bins].

    Args:
        probabilities: shape (images, classes).
        correct: 0 or 1, shape (images,).
        bins: number of bins.

    Raises:
        ValueError: no image, or shapes that do not belong together.
    """
    if probabilities.ndim != 2 or len(probabilities) != len(correct) or not len(correct):
        raise ValueError(f"probabilities {probabilities.shape} and correct {correct.shape} do not belong together")
    confidence = probabilities.astype(np.float64).max(axis=1)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = []
    for k in range(bins):
        inside = bin_of == k
        if inside.any():
            gaps.append(abs(int(correct[inside].sum(dtype=np.int64)) - math.fsum(confidence[inside])))
    return math.fsum(gaps) / len(correct)


def confusion(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts of images, int64, shape (classes, classes): row = true class, column = predicted class.

    Args:
        label: int, 0..classes-1, shape (images,).
        predicted: the same for predictions.
        classes: number of classes.
    """
    counts = np.bincount(label.astype(np.int64) * classes + predicted.astype(np.int64), minlength=classes**2)
    return counts.reshape(classes, classes)


def recalls(counts: np.ndarray) -> list[float | None]:
    """Return for each class the share of its images that are right, 0..1; None for a class without a test image.

    Args:
        counts: of `confusion`, also summed over seeds.
    """
    totals = counts.sum(axis=1)
    return [int(counts[k, k]) / int(n) if (n := totals[k]) else None for k in range(len(counts))]
