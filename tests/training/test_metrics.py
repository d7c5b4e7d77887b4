from __future__ import annotations

import pytest
import torch

from benchmark.training.metrics import accuracy, log_loss, score

LOGITS = torch.tensor([[2.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
LABELS = torch.tensor([0, 0, 0, 1])


def test_accuracy_is_the_share_of_correct_images_not_the_mean_over_classes() -> None:
    assert accuracy(LOGITS, LABELS) == 0.75  # averaged over classes it would be 0.50


def test_accuracy_is_exact_and_not_rounded_to_float32() -> None:
    logits = torch.eye(3)[torch.tensor([0] * 10)]
    labels = torch.tensor([0] * 7 + [1] * 3)
    assert accuracy(logits, labels) == 0.7


def test_scores_agree_with_a_count_by_hand() -> None:
    scores = score(LOGITS, LABELS)
    f1_of_class_0 = 2 * 3 / (2 * 3 + 1 + 0)
    assert scores.macro_f1 == pytest.approx((f1_of_class_0 + 0) / 2, rel=1e-6)
    by_hand = -torch.log_softmax(LOGITS.double(), 1)[torch.arange(4), LABELS].mean()
    assert scores.log_loss == pytest.approx(float(by_hand), rel=1e-12)
    assert log_loss(LOGITS, LABELS) == scores.log_loss
