"""The record's schema."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from benchmark.records.record import SplitMetrics


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, 75.0, math.nan, math.inf])
def test_an_accuracy_that_is_no_share_is_refused(accuracy: float) -> None:
    with pytest.raises(ValidationError):
        SplitMetrics(accuracy=accuracy, macro_f1=0.5, log_loss=0.5)
