"""One run's test predictions, read and checked against its record and the other runs on the same images."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.analysis.bootstrap import image_counts
from benchmark.analysis.quality import LEAST_PROBABILITY, Quality, confusion, quality
from benchmark.errors import UserError
from benchmark.records import PredictionTable, RunRecord
from benchmark.store import Store

SAME_ACCURACY = 1e-6
"""Largest difference between a record's accuracy and the one counted from its predictions: float32's rounding."""

SAME_SCORE = 1e-4
"""The same for macro F1 and, relative to 1 nat, for log loss: they are computed from float32 probabilities here."""


@dataclass(frozen=True)
class TestImages:
    """The test images that runs share.

    Attributes:
        ids: ascending, shape (images,).
        labels: by image.
        listed: ids as the first run's predictions list them.
        order: positions in ``listed`` that sort them.
    """

    ids: np.ndarray
    labels: np.ndarray
    listed: tuple[str, ...] = field(repr=False)
    order: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Tested:
    """What one run's predictions give, images in ascending order of their ids.

    Attributes:
        images: the test images; one object for all runs that share them.
        correct: int8, 1 where the prediction is the label, else 0.
        predicted: class by image.
        confusion: images by true class (row) and predicted class (column).
        quality: macro F1, log loss and calibration error, with their resamples.
    """

    images: TestImages
    correct: np.ndarray
    predicted: np.ndarray
    confusion: np.ndarray
    quality: Quality


def checked(record: RunRecord, store: Store, known: dict[str, TestImages]) -> Tested:
    """Return a done run's test results; ``known`` collects each test split as first seen.

    Raises:
        UserError: the predictions are damaged, or do not agree with the record or with the other runs' images; the file
            is named.
    """
    table = store.predictions(record)
    path = store.path(record.id)
    assert record.predictions is not None and record.test is not None and record.dataset is not None, record.id
    classes = len(record.dataset.classes)
    rows = len(table.image_id)
    if rows != record.predictions.rows or rows != record.dataset.test_images or not rows:
        raise UserError(
            f"{path}: {rows} predictions for {record.dataset.test_images} test images. Run it again with --force."
        )
    images = known.get(key := _key(record))
    own = images if images is not None and table.image_id == images.listed else _test_images(table, path)
    images = known.setdefault(key, own)
    label, predicted = table.label[own.order], table.predicted[own.order]
    for name, values in (("label", label), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= classes:
            raise UserError(f"{path}: a {name} lies outside the {classes} classes. Run it again with --force.")
    same = own is images or np.array_equal(own.ids, images.ids)
    if not same or not np.array_equal(label, images.labels):
        raise UserError(
            f"{path}: its test images or labels differ from those of the other runs on {record.spec.dataset}. "
            "Run it again with --force."
        )
    correct = (predicted == label).astype(np.int8)
    probabilities = table.probabilities[own.order]
    found = quality(label, predicted, probabilities, image_counts(len(label)))
    counted = int(correct.sum(dtype=np.int64)) / len(correct)
    macro_f1, log_loss, _ = found.scores
    sure = probabilities[np.arange(len(label)), label].min() > LEAST_PROBABILITY
    for name, stated, again, tolerance in (
        ("accuracy", record.test.accuracy, counted, SAME_ACCURACY),
        ("macro F1", record.test.macro_f1, macro_f1, SAME_SCORE),
        *([("log loss", record.test.log_loss, log_loss, SAME_SCORE * max(log_loss, 1.0))] if sure else []),
    ):
        if abs(stated - again) > tolerance:
            raise UserError(
                f"{path}: says test {name} {stated:.6f}, its predictions count to {again:.6f}. "
                "Run it again with --force."
            )
    return Tested(images, correct, predicted.astype(np.int32), confusion(label, predicted, classes), found)


def _test_images(table: PredictionTable, path: Path) -> TestImages:
    listed = np.array(table.image_id, dtype=object)
    order = np.argsort(listed, kind="stable")
    ids = listed[order]
    if (twice := ids[1:][ids[1:] == ids[:-1]]).size:
        raise UserError(f"{path}: image {twice[0]!r} is predicted twice. Run it again with --force.")
    return TestImages(ids=ids, labels=table.label[order], listed=table.image_id, order=order)


def _key(record: RunRecord) -> str:
    """Return a key that runs share which were tested on the same images."""
    folds = record.dataset.folds if record.dataset else None
    fold = None if folds is None else record.spec.seed % folds
    return json.dumps([record.spec.dataset, record.spec.source.model_dump(mode="json"), fold], sort_keys=True)
