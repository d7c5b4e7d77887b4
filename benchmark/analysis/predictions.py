"""Test predictions of one run, checked against its record and the other runs on the same images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmark.analysis.scores import LEAST_PROBABILITY, SCORES, Quality, confusion, quality
from benchmark.analysis.uncertainty.bootstrap import resample_counts
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.errors import UserError
from benchmark.records import groups_file
from benchmark.records.record import DoneRun
from benchmark.records.store import Store

SAME_SHARE = 1e-6
"""Largest difference between a record's accuracy, balanced accuracy or ROC AUC and that of its predictions."""

SAME_SCORE = 1e-4
"""The same for macro F1 and, in nats per image, log loss: predictions hold float32 probabilities."""


@dataclass(frozen=True)
class TestImages:
    """Test images that runs share.

    Attributes:
        ids: ascending, shape (images,).
        labels: int64, shape (images,).
        groups: int64, shape (images,), equal for images of one group, the same in all folds of a dataset, or None if
            groups are unknown.
    """

    ids: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = field(repr=False)

    @cached_property
    def counts(self) -> np.ndarray:
        """Count of each image in each resample of the images, or of their groups; see `resample_counts`."""
        return resample_counts(len(self.ids), as_groups(self.groups))


@dataclass(frozen=True)
class TestResults:
    """Test results of one run, images in ascending order of their ids.

    Attributes:
        images: the test images; one object for all runs that share them.
        correct: int8, shape (images,): 1 where the prediction is the label, else 0.
        predicted: int32, shape (images,).
        confusion: images by true class (row) and predicted class (column).
        quality: the other scores, with their resamples.
    """

    images: TestImages
    correct: np.ndarray
    predicted: np.ndarray
    confusion: np.ndarray
    quality: Quality


def read_results(
    record: DoneRun, store: Store, known: dict[str, TestImages], groups: Mapping[str, Mapping[str, int]]
) -> TestResults:
    """Read and check a done run's test results.

    Args:
        record: the run's record.
        store: the store of its predictions.
        known: test images of the runs read before, by dataset and fold; this run's are added.
        groups: for datasets whose groups are known, by `groups_file.key`: image id -> group, for every test image.

    Raises:
        UserError: the predictions are damaged, or disagree with the record, with the other runs' images or with the
            groups; the file is named.
    """
    table = store.predictions(record)
    path = store.path(record.id)
    classes = len(record.dataset.classes)
    rows = len(table.image_id)
    if not rows or record.predictions is None or {rows} != {record.predictions.rows, record.dataset.test_images}:
        raise UserError(
            f"{path}: {rows} predictions for {record.dataset.test_images} test images. Run it again with --force."
        )
    listed = np.array(table.image_id, dtype=object)
    order = np.argsort(listed, kind="stable")
    ids, label, predicted = listed[order], table.label[order], table.predicted[order]
    for name, values in (("label", label), ("predicted", predicted)):
        if values.min() < 0 or values.max() >= classes:
            raise UserError(f"{path}: a {name} is outside the {classes} classes. Run it again with --force.")
    images = known.get(key := _key(record))
    if images is None:
        images = known[key] = _test_images(ids, label, path, groups.get(groups_file.key(record.dataset.fingerprint)))
    elif not np.array_equal(ids, images.ids) or not np.array_equal(label, images.labels):
        raise UserError(
            f"{path}: its test images or labels differ from those of the other runs on {record.spec.dataset}. "
            "Run it again with --force."
        )
    correct = (predicted == label).astype(np.int8)
    probabilities = table.probabilities[order]
    found = quality(label, predicted, probabilities, images.counts)
    counted = int(correct.sum(dtype=np.int64)) / len(correct)
    given = {"accuracy": counted, **dict(zip(SCORES, found.scores, strict=True))}
    sure = probabilities[np.arange(len(label)), label].min() > LEAST_PROBABILITY
    for name, tolerance in (
        *((name, SAME_SHARE) for name in ("accuracy", "balanced_accuracy", "roc_auc")),
        ("macro_f1", SAME_SCORE),
        *([("log_loss", SAME_SCORE * max(given["log_loss"], 1.0))] if sure else []),
    ):
        stated = math.nan if (value := getattr(record.test, name)) is None else value
        if abs(stated - given[name]) > tolerance or math.isnan(stated) != math.isnan(given[name]):
            raise UserError(
                f"{path}: says test.{name} {stated:.6f}, but its predictions give {given[name]:.6f}. "
                "Run it again with --force."
            )
    return TestResults(images, correct, predicted.astype(np.int32), confusion(label, predicted, classes), found)


def _test_images(ids: np.ndarray, labels: np.ndarray, path: Path, groups: Mapping[str, int] | None) -> TestImages:
    if (twice := ids[1:][ids[1:] == ids[:-1]]).size:
        raise UserError(f"{path}: image {twice[0]!r} has two predictions. Run it again with --force.")
    codes = None
    if groups is not None:
        folder = path.parent.parent
        if absent := [name for name in ids.tolist() if name not in groups]:
            raise UserError(
                f"{folder / groups_file.FILE}: {len(absent)} of {len(ids)} test images of {path} have no "
                f"group there, e.g. {absent[0]!r}. Add them, or remove the dataset's rows and run "
                f"`python -m benchmark datasets groups {folder.name}` to make them again."
            )
        codes = np.array([groups[name] for name in ids.tolist()], dtype=np.int64)
    return TestImages(ids, labels, codes)


def _key(record: DoneRun) -> str:
    """Return a key of the run's test images: its dataset and fold."""
    fold = None if record.dataset.folds is None else record.spec.seed % record.dataset.folds
    return json.dumps([record.spec.dataset, record.spec.source.model_dump(mode="json"), fold], sort_keys=True)
