from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from benchmark.training.metrics import accuracy, balanced_accuracy, log_loss, roc_auc, score

LOGITS = torch.tensor([[2.0, 0.0], [3.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
LABELS = torch.tensor([0, 0, 0, 1])


def test_accuracy_is_the_share_of_correct_images_not_the_mean_over_classes() -> None:
    assert accuracy(LOGITS, LABELS) == 0.75  # averaged over classes it would be 0.50
    assert balanced_accuracy(LOGITS, LABELS) == 0.50


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
    assert (scores.balanced_accuracy, scores.roc_auc) == (0.5, 1.0)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("case", range(20))
def test_balanced_accuracy_and_roc_auc_equal_those_of_scikit_learn(case: int) -> None:
    """Two, three or up to twelve classes; every other case has ties, every third a class without an image."""
    random = np.random.default_rng(case)
    classes = (2, 3, int(random.integers(4, 13)))[case % 4 % 3]
    logits = torch.tensor(random.normal(size=(80, classes)) * 2, dtype=torch.float32)
    if case % 2:
        logits = logits.round()
    labels = torch.tensor(random.integers(int(classes > 2 and case % 3 == 0), classes, 80))
    logits[torch.arange(80), labels] += 1.0
    probabilities = logits.double().softmax(dim=1).float().numpy()
    balanced = balanced_accuracy_score(labels, logits.argmax(dim=1))
    present = labels.unique().tolist()
    if classes == 2:
        area = roc_auc_score(labels, probabilities[:, 1])
    elif len(present) == classes:
        area = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    else:
        area = np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in present])
    assert balanced_accuracy(logits, labels) == pytest.approx(balanced, abs=1e-12)
    assert roc_auc(logits, labels) == pytest.approx(area, abs=1e-12)


def test_images_of_one_class_have_no_roc_auc() -> None:
    scores = score(LOGITS, torch.zeros(4, dtype=torch.int64))
    assert (scores.balanced_accuracy, scores.roc_auc) == (1.0, None)
