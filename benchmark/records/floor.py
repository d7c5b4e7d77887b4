"""Floor rows: scores of simple methods on small grey thumbnails, which a network must beat to be worth its cost.

They are not runs. Each is a file ``<results folder>/floor/<id>.json`` with its test predictions in ``<id>.parquet``;
both are written atomically.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pydantic import Field, ValidationError

from benchmark.data.source import DatasetSource
from benchmark.data.splits.rules import Evaluation, OnBadImage, OnLeak
from benchmark.errors import UserError
from benchmark.fields import Frozen
from benchmark.files import write_atomically
from benchmark.matrix.run_spec import RunSpec
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records.locks import folder_locked
from benchmark.records.record import DoneRun, Predictions, PredictionTable, Share
from benchmark.records.store import VERSIONS, DamagedRecord, is_of_another_protocol

if TYPE_CHECKING:
    import numpy as np

FOLDER = "floor"
"""Folder inside a results folder."""

SCHEMA_VERSION = 1
"""Schema version of a floor row."""

Method = Literal["majority", "1-nn", "5-nn", "logistic"]
"""Most frequent class; nearest training image; vote of the five nearest training images; logistic regression."""

METHODS: tuple[Method, ...] = get_args(Method)

SAME_ACCURACY = 1e-9
"""Largest accepted difference between a row's test accuracy and the accuracy of its predictions."""


class FloorSpec(Frozen):
    """Definition of a floor row: every value that decides its scores."""

    dataset: str
    """Label of the dataset in tables."""
    source: DatasetSource
    split_seed: int
    evaluation: Evaluation
    fold: int | None
    """Number of the test fold in a cross-validation, or None if all seeds share one test split."""
    on_bad_image: OnBadImage
    on_leak: OnLeak = "refuse"
    method: Method

    @property
    def id(self) -> str:
        """First sixteen hexadecimal digits of the SHA-256 of every value that decides the scores (not the label)."""
        decisive = {**self.model_dump(mode="json", exclude={"dataset"}), "source": self.source.decisive}
        if self.on_leak == "refuse":
            del decisive["on_leak"]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def portable(self) -> FloorSpec:
        """The same row with the same id, without paths of this machine."""
        return self.model_copy(update={"source": self.source.portable})

    @property
    def images(self) -> tuple[object, ...]:
        """A key shared by all rows on the same images in the same splits."""
        return self.source.portable, self.split_seed, self.evaluation, self.fold, self.on_bad_image, self.on_leak


class FloorScores(Frozen):
    """Scores on one split; see `benchmark.records.record.SplitMetrics`."""

    accuracy: Share
    balanced_accuracy: Share
    macro_f1: Share
    log_loss: float | None
    """None for nearest neighbours, whose votes are not probabilities."""
    roc_auc: Share | None
    """None for nearest neighbours, and if all images are of one class."""


class FloorEnvironment(Frozen):
    """Software and processor of the computation."""

    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    variables: dict[str, str] = Field(default_factory=dict)
    """Environment variables that choose processor instructions."""


class FloorRow(Frozen):
    """Result of a floor row, one JSON file."""

    schema_version: int = SCHEMA_VERSION
    protocol_version: int = PROTOCOL_VERSION
    id: str
    spec: FloorSpec
    hyperparameters: Mapping[str, int | float]
    """Values chosen on the validation split or fixed by the method."""
    fingerprint: str
    """Fingerprint of the dataset, as in `benchmark.records.record.DatasetRecord`."""
    classes: tuple[str, ...]
    train_images: int
    validation_images: int
    test_images: int
    validation: FloorScores
    test: FloorScores
    seconds: float
    """Wall time of fitting and scoring on one thread."""
    finished_at: str
    """UTC, ISO 8601."""
    environment: FloorEnvironment
    predictions: Predictions | None = None
    """None until the store has written them; never None on disk."""


class Answers(NamedTuple):
    """Predictions of a floor row on its test images: arrays of shape (images,), in the dataset's order."""

    image_id: np.ndarray
    label: np.ndarray
    predicted: np.ndarray


class FloorStore:
    """Floor rows of a results folder."""

    def __init__(self, folder: Path) -> None:
        self._results = folder
        self.folder = folder / FOLDER

    def path(self, row_id: str) -> Path:
        """Return the path of a row."""
        return self.folder / f"{row_id}.json"

    def save(self, row: FloorRow, predictions: PredictionTable) -> None:
        """Write a row, its predictions first, so that a row on disk is always complete.

        Raises:
            UserError: the results folder cannot be written.
        """
        content, name = predictions.to_parquet(), f"{row.id}.parquet"
        named = Predictions(file=name, sha256=hashlib.sha256(content).hexdigest(), rows=len(predictions.image_id))
        row = row.model_copy(update={"spec": row.spec.portable, "predictions": named})
        with folder_locked(self._results):  # two commands must not mix up their files
            write_atomically(self.folder / name, content)
            write_atomically(self.path(row.id), (row.model_dump_json(indent=1) + "\n").encode())
            for file in self.folder.glob(f".{row.id}.*.tmp"):  # unfinished files of a killed process
                file.unlink(missing_ok=True)

    def load(self, row_id: str) -> FloorRow | DamagedRecord | None:
        """Return a row, a `DamagedRecord` if it or its predictions are invalid, or None.

        None means that it is missing or was made under another protocol version.
        """
        path = self.path(row_id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return DamagedRecord(path=path, reason=f"cannot be read: {error.strerror}")
        if is_of_another_protocol(content):
            return None
        try:
            row = FloorRow.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "file"
            return DamagedRecord(path=path, reason=f"{where}: {first['msg']}")
        problem = self._problem(row, path)
        return row if problem is None else DamagedRecord(path=path, reason=problem)

    def _problem(self, row: FloorRow, path: Path) -> str | None:
        if not row.id == row.spec.id == path.stem:
            return f"contains another floor row, {row.id}"
        if row.schema_version != SCHEMA_VERSION or not row.model_fields_set >= VERSIONS:
            return f"not of schema version {SCHEMA_VERSION}"
        if row.predictions is None or row.predictions.file != f"{row.id}.parquet":
            return "names no predictions of its own"
        try:
            content = (self.folder / row.predictions.file).read_bytes()
        except OSError as error:
            return f"its predictions cannot be read: {error.strerror}"
        return None if hashlib.sha256(content).hexdigest() == row.predictions.sha256 else "its predictions have changed"

    def answers(self, row: FloorRow) -> Answers:
        """Return a row's predictions on its test images, after checking them against its test accuracy.

        Raises:
            UserError: predictions and test accuracy disagree.
        """
        import numpy as np
        from pyarrow import BufferReader
        from pyarrow.parquet import ParquetFile

        content = self.path(row.id).with_suffix(".parquet").read_bytes()
        columns = ParquetFile(BufferReader(content)).read(columns=list(Answers._fields), use_threads=False)
        answers = Answers(
            np.array(columns["image_id"].to_pylist(), dtype=object),
            *(columns[name].to_numpy() for name in ("label", "predicted")),
        )
        right, rows = int((answers.label == answers.predicted).sum()), columns.num_rows
        if rows != row.test_images or abs(right / rows - row.test.accuracy) > SAME_ACCURACY:
            raise UserError(
                f"{self.path(row.id)}: test accuracy {row.test.accuracy:.6f} on {row.test_images} images does not "
                f"match its predictions: {right} of {rows} are right. Delete the file and run the matrix again."
            )
        return answers


@dataclass(frozen=True)
class PlannedRow:
    """A floor row of a matrix, with its result."""

    spec: FloorSpec
    found: FloorRow | DamagedRecord | None
    """None if it is pending: missing, from another protocol version, or on other images than the newest runs."""

    @property
    def row(self) -> FloorRow | None:
        """The result, or None if it is not done."""
        return self.found if isinstance(self.found, FloorRow) else None

    @property
    def state(self) -> Literal["done", "damaged", "pending"]:
        """State of the row; damaged and pending rows are computed by the next ``run``."""
        if self.found is None:
            return "pending"
        return "done" if isinstance(self.found, FloorRow) else "damaged"


def floor_specs(runs: Iterable[RunSpec]) -> list[FloorSpec]:
    """Return the floor rows for the images of some runs, ordered by run, then as in `METHODS`."""
    datasets = dict.fromkeys(
        (run.dataset, run.source, run.split_seed, run.evaluation, run.fold, run.on_bad_image, run.on_leak)
        for run in runs
    )
    names = ("dataset", "source", "split_seed", "evaluation", "fold", "on_bad_image", "on_leak", "method")
    return [
        FloorSpec.model_validate(dict(zip(names, (*dataset, method), strict=True)))
        for dataset in datasets
        for method in METHODS
    ]


def plan_floor(runs: Sequence[RunSpec], folder: Path, done: Iterable[DoneRun]) -> tuple[PlannedRow, ...]:
    """Compare the floor rows of some runs with those in a results folder.

    Args:
        runs: all or some runs of the matrix.
        folder: the results folder.
        done: records of done runs; a row on other images is pending.
    """
    store = FloorStore(folder)
    current = {spec.images: record.dataset.fingerprint for record in done for spec in floor_specs([record.spec])[:1]}

    def find(spec: FloorSpec) -> FloorRow | DamagedRecord | None:
        found = store.load(spec.id)
        if isinstance(found, FloorRow) and found.fingerprint != current.get(spec.images, found.fingerprint):
            return None
        return found

    return tuple(PlannedRow(spec, find(spec)) for spec in floor_specs(runs))


def damaged_rows(planned: Iterable[PlannedRow]) -> list[DamagedRecord]:
    """Return the files of damaged rows, without duplicates."""
    return list(dict.fromkeys(each.found for each in planned if isinstance(each.found, DamagedRecord)))
