"""Intervals of one cell or difference whose runs' variance is its own."""

from __future__ import annotations

import numpy as np

from benchmark.analysis.uncertainty.design import Design
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_accuracy, mean_difference
from benchmark.analysis.uncertainty.runs import between_runs

EVERY_IMAGE = Design()
"""Every seed tested on every image, without classes or groups."""


def difference_of(values: np.ndarray, design: Design = EVERY_IMAGE) -> Interval:
    """Return the interval of values, shape (seeds, images)."""
    return mean_difference(values, design, between_runs(values, design))


def accuracy_of(correct: np.ndarray, design: Design = EVERY_IMAGE) -> Interval:
    """Return the interval of correctness, shape (seeds, images)."""
    return mean_accuracy(correct, design, between_runs(correct, design))
