"""Scores of logits, float, shape (n, classes), against labels, int64, shape (n,)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from benchmark.records.record import SplitMetrics


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of correct images (micro average, 0..1); at a tie of logits the first class counts."""
    share = multiclass_accuracy(logits, labels, num_classes=logits.shape[1], average="micro", validate_args=False)
    return round(float(share) * len(labels)) / len(labels)  # torchmetrics rounds to float32


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy in nats per image, in float64."""
    return float(torch.nn.functional.cross_entropy(logits.double(), labels))


def score(logits: Tensor, labels: Tensor) -> SplitMetrics:
    """Return accuracy, macro F1 (unweighted mean over the classes) and log loss of one split."""
    macro_f1 = multiclass_f1_score(logits, labels, num_classes=logits.shape[1], average="macro", validate_args=False)
    return SplitMetrics(accuracy=accuracy(logits, labels), macro_f1=float(macro_f1), log_loss=log_loss(logits, labels))
