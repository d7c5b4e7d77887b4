"""Scores in addition to accuracy: balanced accuracy, ROC AUC, F1, log loss, calibration error; confusion of classes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import sparse

BINS = 15
"""Bins of the calibration error."""

SCORES = ("balanced_accuracy", "roc_auc", "macro_f1", "log_loss", "calibration_error")
"""The scores of `Quality`, in its order."""

UNIT = 2.0**-24
"""Log losses and confidences are rounded to multiples of this, so that weighted sums are exact in any order."""

LEAST_PROBABILITY = 2.0**-126
"""The smallest normal float32, in which predictions are kept."""


@dataclass(frozen=True)
class Quality:
    """Scores of one run on the test images, in the order of `SCORES`; NaN where ROC AUC is undefined.

    Attributes:
        scores: balanced accuracy, ROC AUC and macro F1 (0..1), log loss (nats per image) and expected calibration error
            (0..1) on the images.
        resampled: the same on resamples of the images, float64, shape (5, resamples).
    """

    scores: tuple[float, ...]
    resampled: np.ndarray


def quality(label: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> Quality:
    """Return the scores of one run, on its test images and on resamples of them.

    Balanced accuracy is the unweighted mean of recall over the classes with an image, ROC AUC see `roc_auc`. Macro F1
    is the unweighted mean of 2 tp / (2 tp + fp + fn) over the classes that are true or predicted anywhere, as
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
    counts = np.hstack([np.ones((images, 1)), counts])
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
    sums = what @ counts
    both, missing, wrongly = (sums[k * classes : (k + 1) * classes] for k in range(3))
    true, taken = both + missing, both + wrongly
    drawn = counts.sum(axis=0)
    found = np.stack(
        [
            _mean_ratio(both, true),
            roc_auc(label, probabilities, counts),
            _mean_ratio(2 * both, true + taken),
            loss @ counts / drawn,
            np.abs(sums[3 * classes :]).sum(axis=0) / drawn,
        ]
    )
    return Quality(tuple(found[:, 0].tolist()), found[:, 1:])


def roc_auc(label: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve on each resample, the mean over the classes of each one against the rest.

    The area is the share of pairs of an image of the class and one of the rest in which the former has the higher
    probability of the class, ties counted half (Hanley and McNeil 1982, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve"). An image that was drawn n times is n images. The pairs that are
    lost are counted: few images have a higher probability of a class than the class's own. Classes without a pair are
    left out. Of two classes both areas are the same: it is the second's.

    Args:
        label, probabilities, counts: as in `quality`.

    Returns:
        float64, shape (resamples,); NaN where all images are of one class.
    """
    drawn = counts.sum(axis=0)
    lost, pairs = np.zeros((2, probabilities.shape[1], len(drawn)))
    for k in np.unique(label[label == 1] if len(lost) == 2 else label):
        own = np.flatnonzero(label == k)
        steps, step = np.unique(-probabilities[own, k], return_inverse=True)
        first = np.searchsorted(steps, -probabilities[:, k])  # the class's first step that an image reaches
        rivals = np.flatnonzero(first < len(steps))
        tied = rivals[steps[first[rivals]] == -probabilities[rivals, k]]
        rows = np.concatenate([first[rivals], len(steps) + first[tied], 2 * len(steps) + step])
        columns = np.concatenate([rivals, tied, own])
        what = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(3 * len(steps), len(label)))
        reached, on, positive = (what @ counts).reshape(3, len(steps), -1)
        for above, this in itertools.pairwise(reached):
            this += above  # five times as fast as NumPy's sum along the first axis
        positives = positive.sum(axis=0)
        lost[k] = ((positive * (2 * reached - on)).sum(axis=0) - positives**2) / 2
        pairs[k] = positives * (drawn - positives)
    return _mean_ratio(pairs - lost, pairs)


def _mean_ratio(part: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the mean over the rows of part / of where ``of`` is not zero, by column; NaN if it is zero in all."""
    known = of > 0
    total = np.divide(part, of, out=np.zeros_like(part), where=known).sum(axis=0)
    number = known.sum(axis=0)
    mean: np.ndarray = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return mean


def confusion(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts of images, int64, shape (classes, classes): row = true class, column = predicted class."""
    counts = np.bincount(label.astype(np.int64) * classes + predicted.astype(np.int64), minlength=classes**2)
    return counts.reshape(classes, classes)


def recalls(counts: np.ndarray) -> list[float | None]:
    """Return each class's share of right test images, 0..1, or None without one; counts are those of `confusion`."""
    totals = counts.sum(axis=1)
    return [int(counts[k, k]) / int(n) if (n := totals[k]) else None for k in range(len(counts))]
