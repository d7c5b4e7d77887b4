"""Schema of a run's record."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter

from benchmark.fields import Frozen
from benchmark.matrix.policies import BatchNorm, Trainable
from benchmark.matrix.run_spec import RunSpec
from benchmark.protocol import PROTOCOL_VERSION

if TYPE_CHECKING:  # `plan` and `status` do not load pandas
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 2
"""Schema version of a record."""

Share = Annotated[float, Field(ge=0, le=1)]

Failure = Literal["failed", "diverged", "timeout", "oom", "killed"]
Status = Literal["done", "tuned", Failure]


class _Part(Frozen):
    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)  # a loss may become infinite or NaN


class EpochRecord(_Part):
    """One trained epoch, or epoch 0, the untrained network. Losses are mean cross-entropies, nats per image.

    A later stage starts from the last epoch of the previous stage.
    """

    stage: int
    """1-based."""
    epoch: int
    """Epochs trained so far, over all stages."""
    lr: float | None
    """Learning rate at the epoch's first step. This field and the next are None for epoch 0."""
    train_loss: float | None
    val_loss: float
    val_accuracy: Share
    """0..1."""
    val_roc_auc: Share | None = None
    """See `SplitMetrics`; present if it chooses the epoch."""
    train_seconds: float
    """Wall time of the epoch's training steps."""


class SplitMetrics(_Part):
    """Scores of the chosen epoch on one split."""

    accuracy: Share
    """Correct images / images (micro average), 0..1."""
    balanced_accuracy: Share
    """Mean of correct images / images over the classes that have images, 0..1."""
    roc_auc: Share | None
    """Area under the ROC curve, 0..1: the mean over all classes, each against the rest, or with two classes the
    second one's; None if all images are of one class."""
    macro_f1: Annotated[float, Field(ge=0, le=1 + 1e-6)]
    """Unweighted mean of the classes' F1 scores, 0..1; rounding of float32 may exceed 1 in the last digits."""
    log_loss: float
    """Mean cross-entropy, nats per image."""


class DatasetRecord(_Part):
    """The images of the run."""

    fingerprint: str
    """Hash of every image's content, label, and split or fold, except for a drawn validation split. Records with
    different fingerprints are not comparable."""
    classes: tuple[str, ...]
    train_images: int
    """After ``limit``."""
    validation_images: int
    """After ``limit``."""
    test_images: int
    notes: tuple[str, ...] = ()
    """Notes on how missing splits were drawn and which images were left out."""
    folds: int | None = None
    """Number of folds if the test split is one fold of a cross-validation, chosen by the seed."""


class StageRecord(_Part):
    """One training stage."""

    trainable: Trainable
    trainable_parameters: int
    batch_norm: BatchNorm
    epochs_run: int
    stopped_early: bool
    cached_features: bool = False
    """Whether the head was trained on cached features of the frozen backbone, which affects only the last bits."""


class ModelRecord(_Part):
    """The network that was built."""

    parameters: int
    input_channels: int
    mean: tuple[float, ...]
    """Per input channel, on the 0..1 pixel scale."""
    std: tuple[float, ...]
    pretrained_mean: tuple[float, ...] | None = None
    """Three means of the pretrained weights, before adaptation to the input mode; None in older records."""
    pretrained_std: tuple[float, ...] | None = None
    weights_sha256: str | None
    """Hash of name, dtype, shape and bytes of the pretrained tensors in name order, or None for random weights."""
    weights_origin: str
    """Source of the weights, in words."""
    stages: tuple[StageRecord, ...]


class Timing(_Part):
    """Wall time by phase, seconds."""

    data_seconds: float
    """Opening the cache of decoded images."""
    model_seconds: float
    """Building the model and loading its weights."""
    train_seconds: float
    """Training steps of all epochs."""
    feature_seconds: float = 0.0
    """Computing the features of a frozen backbone, or reading those another run computed."""
    eval_seconds: float
    """Evaluation on the validation split before training, after each epoch and at the end; on the test split twice."""
    total_seconds: float
    """Complete run in the worker, including the time before interruptions."""
    train_images_per_second: float
    """Images per second through forward and backward passes of the complete network, or of the head on cached features
    if nothing else was trained."""
    eval_images_per_second: float
    contended: bool | None
    """Whether training and evaluation (since the last interruption) spent more than 5 % of their time stopped or
    waiting for a processor, or None if that cannot be measured."""
    resumed_after: tuple[int, ...] = ()
    """Epochs after which the run was interrupted and resumed from a checkpoint."""


class Memory(_Part):
    """Peak memory of the run, bytes."""

    peak_rss_bytes: int
    """Resident memory of the worker process, including its libraries."""
    peak_device_bytes: int | None
    """Memory allocated on the GPU, or None on a CPU."""


class Environment(_Part):
    """Software and hardware of the run."""

    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    device: str
    """``cpu`` or the GPU's name."""
    precision: Literal["fp32", "fp16", "bf16"]
    """The precision used; the matrix may say ``auto``."""
    threads: int
    workers: int
    """Runs that shared the machine."""
    variables: dict[str, str]
    """Environment variables of the workers (allocator, GPU), and those that choose processor instructions."""
    git_commit: str | None
    git_dirty: bool | None
    instruction_set: str | None = None
    """Widest instruction set of torch's CPU kernels, as named by ``torch.backends.cpu.get_cpu_capability``
    (``AVX512``). It affects the last bits, and these differences grow in training. None in older records."""
    preregistered: str | None = None
    """SHA-256 of the file of questions asked before the run, from the matrix."""


class Predictions(_Part):
    """File of the test predictions, in the record's folder."""

    file: str
    sha256: str
    rows: int


class ExhibitFiles(_Part):
    """Files for the report's pictures, in the results folder's ``exhibits/``; runs may share them."""

    thumbnails: str | None = None
    """File of test image thumbnails, or None if the licence or the matrix does not allow them."""
    stem: str | None = None
    """File of the pretrained stem's filters, in older records only; unused."""


class _Run(_Part):
    """Fields of all records, in the order of the JSON file."""

    schema_version: int = SCHEMA_VERSION
    protocol_version: int = PROTOCOL_VERSION
    id: str
    status: Status
    reason: str | None = None
    """Why the run is not done, in one line."""
    traceback: str | None = None
    log: tuple[str, ...] = ()
    """Last lines of output of an unfinished run's worker: log, warnings, messages of libraries."""
    spec: RunSpec
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str


class FinishedRun(_Run):
    """Fields of the records of runs whose training is complete."""

    environment: Environment
    dataset: DatasetRecord
    model: ModelRecord
    history: Annotated[tuple[EpochRecord, ...], Field(min_length=1)]
    best_epoch: int
    """Epochs trained, over all stages, at the epoch chosen by `training.choose_by`; may be 0."""
    validation: SplitMetrics
    validation_saturated: bool
    """Whether validation accuracy was 1.0 in three epochs or more, so that it cannot distinguish them."""
    timing: Timing
    memory: Memory


class DoneRun(FinishedRun):
    """Record of a reported run that was trained and scored."""

    status: Literal["done"] = "done"
    test: SplitMetrics
    last_epoch_test_accuracy: Share
    """Test accuracy of the weights after the last epoch, without a choice of epoch."""
    predictions: Predictions | None = None
    """None until the store has written them; never None on disk."""
    exhibits: ExhibitFiles | None = None
    """None in older records."""


class TunedRun(FinishedRun):
    """Record of a finished tuning run, which uses no test images and has no predictions."""

    status: Literal["tuned"] = "tuned"


class UnfinishedRun(_Run):
    """Record of a run that failed, diverged or was stopped; its results are null."""

    status: Failure
    environment: Environment | None = None
    dataset: None = None
    model: None = None
    history: tuple[EpochRecord, ...] = ()
    """Epochs before the end."""
    best_epoch: None = None
    validation: None = None
    test: None = None
    last_epoch_test_accuracy: None = None
    validation_saturated: None = None
    timing: None = None
    memory: None = None
    predictions: None = None
    exhibits: None = None


RunRecord: TypeAlias = DoneRun | TunedRun | UnfinishedRun
"""Record of a run, one JSON file; ``status`` decides which of the three."""


@functools.cache
def record_adapter() -> TypeAdapter[RunRecord]:
    """Return the reader of records, built on first use."""
    return TypeAdapter(Annotated[RunRecord, Field(discriminator="status")])


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of the chosen epoch on the test split, one row per image, in the dataset's order."""

    image_id: tuple[str, ...]
    label: np.ndarray
    """int64, shape (n,)."""
    predicted: np.ndarray
    """int64, shape (n,): the class of the largest logit."""
    probabilities: np.ndarray
    """float32, shape (n, classes)."""

    def to_frame(self) -> pd.DataFrame:
        """Return columns image_id, label, predicted, p0 … p(k-1)."""
        import pandas as pd

        classes = {"label": self.label.astype("int64"), "predicted": self.predicted.astype("int64")}
        shares = {f"p{k}": share for k, share in enumerate(self.probabilities.T.astype("float32"))}
        return pd.DataFrame({"image_id": list(self.image_id), **classes, **shares})

    def to_parquet(self) -> bytes:
        """Return `to_frame` as a Parquet file.

        Probabilities are stored byte by byte (all exponents, then all first bytes of mantissas, and so on), which
        compresses to two thirds of the size if there are many classes.
        """
        buffer, shares = io.BytesIO(), [f"p{k}" for k in range(self.probabilities.shape[1])]
        self.to_frame().to_parquet(
            buffer,
            index=False,
            compression="zstd",
            compression_level=9,
            use_dictionary=["image_id", "label", "predicted"],
            use_byte_stream_split=shares,
        )
        return buffer.getvalue()
