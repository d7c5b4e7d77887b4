"""Scores in addition to accuracy: F1, log loss, calibration error, and the confusion of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

BINS = 15
"""Bins of the calibration error."""

SCORES = ("macro_f1", "log_loss", "calibration_error")
"""The scores of `Quality`, in its order."""

UNIT = 2.0**-24
"""Log losses and confidences are rounded to multiples of this, so that weighted sums are exact in any order."""

LEAST_PROBABILITY = 2.0**-126
"""The smallest normal float32, in which predictions are kept."""


@dataclass(frozen=True)
class Quality:
    """Scores of one run on the test images.

    Attributes:
        scores: macro F1 (0..1), log loss (nats per image) and expected calibration error (0..1) on the images.
        resampled: the same on resamples of the images, float64, shape (3, resamples).
    """

    scores: tuple[float, float, float]
    resampled: np.ndarray


def quality(label: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> Quality:
    """Return macro F1, log loss and calibration error of one run, on its test images and on resamples of them.

    Macro F1 is the unweighted mean of 2 tp / (2 tp + fp + fn) over the classes that are true or predicted anywhere, as
    in torchmetrics. ECE = sum over bins of (images in the bin / all) x |accuracy - mean confidence| (Guo et al. 2017,
    "On Calibration of Modern Neural Networks"), with confidence the largest probability and bins of equal width, each
    without its lower edge: (k / bins, (k + 1) / bins].

    Args:
        label: int, 0..classes-1, shape (images,).
        predicted: the same for predictions.
        probabilities: shape (images, classes).
        counts: count of each image in each resample, float64, shape (images, resamples).

    Raises:
        ValueError: no image, or shapes that do not belong together.
    """
    images, classes = probabilities.shape if probabilities.ndim == 2 else (0, 0)
    if not images or len(label) != images or len(predicted) != images or len(counts) != images:
        shapes = ", ".join(str(array.shape) for array in (label, predicted, probabilities, counts))
        raise ValueError(f"labels, predictions, probabilities and counts do not belong together: {shapes}")
    wide = probabilities.astype(np.float64)
    every = np.arange(images)
    confidence = np.rint(wide.max(axis=1) / UNIT) * UNIT
    loss = np.rint(-np.log(np.maximum(wide[every, label], LEAST_PROBABILITY)) / UNIT) * UNIT
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    right = label == predicted
    missed = np.flatnonzero(~right)
    columns = np.concatenate([np.where(right, 0, classes) + label, 2 * classes + predicted[missed], 3 * classes + bins])
    rows = np.concatenate([every, missed, every])
    values = np.concatenate([np.ones(images + len(missed)), right - confidence])
    what = sparse.csr_array((values, (columns, rows)), shape=(3 * classes + BINS, images))
    sums = np.hstack([what.sum(axis=1)[:, None], what @ counts])
    both, missing, wrongly = (sums[k * classes : (k + 1) * classes] for k in range(3))
    true, taken = both + missing, both + wrongly
    met = true + taken > 0
    drawn = np.concatenate([[images], counts.sum(axis=0)])
    f1 = np.divide(2 * both, true + taken, out=np.zeros_like(both), where=met)
    found = np.stack(
        [
            f1.sum(axis=0) / met.sum(axis=0),
            np.concatenate([[loss.sum()], loss @ counts]) / drawn,
            np.abs(sums[3 * classes :]).sum(axis=0) / drawn,
        ]
    )
    first = found[:, 0].tolist()
    return Quality((first[0], first[1], first[2]), found[:, 1:])


def confusion(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts of images, int64, shape (classes, classes): row = true class, column = predicted class."""
    counts = np.bincount(label.astype(np.int64) * classes + predicted.astype(np.int64), minlength=classes**2)
    return counts.reshape(classes, classes)


def recalls(counts: np.ndarray) -> list[float | None]:
    """Return each class's share of right test images, 0..1, or None without one; counts are those of `confusion`."""
    totals = counts.sum(axis=1)
    return [int(counts[k, k]) / int(n) if (n := totals[k]) else None for k in range(len(counts))]
