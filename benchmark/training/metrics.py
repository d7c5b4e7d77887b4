"""Scores of logits (float, shape (n, classes)) against labels (int64, shape (n,))."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from benchmark.records.record import SplitMetrics


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of correct images (micro average, 0..1); tied logits count as the first class."""
    share = multiclass_accuracy(logits, labels, num_classes=logits.shape[1], average="micro", validate_args=False)
    return round(float(share) * len(labels)) / len(labels)  # torchmetrics rounds to float32


def balanced_accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean recall (0..1) of the classes that have images.

    As in scikit-learn; torchmetrics' macro average includes classes that are only predicted, with recall 0.
    """
    images = labels.bincount(minlength=logits.shape[1])
    right = labels[logits.argmax(dim=1) == labels].bincount(minlength=logits.shape[1])
    present = images > 0
    return float((right[present].double() / images[present]).mean())


def roc_auc(logits: Tensor, labels: Tensor) -> float | None:
    """Return the area under the ROC curve (0..1), averaged over the classes, each against the rest.

    The area is the share of pairs of one image of the class and one of the rest in which the former has the higher
    probability of the class; ties count half. It is computed in float64 from midranks (Hanley and McNeil 1982, "The
    meaning and use of the area under a receiver operating characteristic (ROC) curve") of the probabilities as stored,
    in float32. Classes without such pairs are left out (torchmetrics counts them as 0). With two classes both areas are
    equal, and the second one's is returned.

    Returns:
        The mean, or None if all images are of one class.
    """
    classes = torch.arange(logits.shape[1], device=labels.device)
    if len(classes) == 2:
        classes = classes[1:]
    probabilities = logits.double().softmax(dim=1).float().T[classes].contiguous()
    ordered = probabilities.sort(dim=1).values
    twice_midranks = (
        torch.searchsorted(ordered, probabilities) + torch.searchsorted(ordered, probabilities, right=True) + 1
    )
    positive = labels == classes[:, None]
    positives = positive.sum(dim=1)
    twice_won = (twice_midranks * positive).sum(dim=1) - positives * (positives + 1)
    pairs = positives * (len(labels) - positives)
    counted = pairs > 0
    return float((twice_won[counted].double() / (2 * pairs[counted])).mean()) if counted.any() else None


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats per image, computed in float64."""
    return float(torch.nn.functional.cross_entropy(logits.double(), labels))


def score(logits: Tensor, labels: Tensor) -> SplitMetrics:
    """Return the scores of one split; macro F1 is the unweighted mean over the classes."""
    macro_f1 = multiclass_f1_score(logits, labels, num_classes=logits.shape[1], average="macro", validate_args=False)
    return SplitMetrics(
        accuracy=accuracy(logits, labels),
        balanced_accuracy=balanced_accuracy(logits, labels),
        roc_auc=roc_auc(logits, labels),
        macro_f1=float(macro_f1),
        log_loss=log_loss(logits, labels),
    )
