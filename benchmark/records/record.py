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
"""Version of the record's schema."""

Share = Annotated[float, Field(ge=0, le=1)]

Failure = Literal["failed", "diverged", "timeout", "oom", "killed"]
Status = Literal["done", "tuned", Failure]


class _Part(Frozen):
    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)  # a loss may become infinite or NaN


class EpochRecord(_Part):
    """One trained epoch, or epoch 0: the network before any training. Losses are mean cross-entropies, nats per image.

    The starting point of a later stage is the last epoch of the stage before it.
    """

    stage: int
    """1-based."""
    epoch: int
    """Epochs trained so far, over all stages."""
    lr: float | None
    """Learning rate that the optimizer applied at the epoch's first step; like the next, None for epoch 0."""
    train_loss: float | None
    val_loss: float
    val_accuracy: Share
    """0..1."""
    val_roc_auc: Share | None = None
    """As in `SplitMetrics`, where it chooses the epoch."""
    train_seconds: float
    """Wall time of the epoch's training steps."""


class SplitMetrics(_Part):
    """Scores of the chosen epoch on one split."""

    accuracy: Share
    """Correct images / images (micro average), 0..1."""
    balanced_accuracy: Share
    """Mean over the classes that have an image of their correct images / images, 0..1."""
    roc_auc: Share | None
    """Area under the ROC curve, 0..1, the mean over the classes of each one against the rest (of two classes, the
    second's); None if all images are of one class."""
    macro_f1: Annotated[float, Field(ge=0, le=1 + 1e-6)]
    """Unweighted mean over classes of the F1 score, 0..1; a sum of float32, so its last digits may pass 1."""
    log_loss: float
    """Mean cross-entropy, nats per image."""


class DatasetRecord(_Part):
    """The images behind the run."""

    fingerprint: str
    """Hash of every image's content, label, and split or fold, but for a drawn validation split: records with different
    ones are not comparable."""
    classes: tuple[str, ...]
    train_images: int
    """After ``limit``."""
    validation_images: int
    """After ``limit``."""
    test_images: int
    notes: tuple[str, ...] = ()
    """How missing splits were drawn and what was left out, in words."""
    folds: int | None = None
    """Where the test split is one fold of a cross-validation, chosen by the seed: the number of folds."""


class StageRecord(_Part):
    """Training in one stage."""

    trainable: Trainable
    trainable_parameters: int
    batch_norm: BatchNorm
    epochs_run: int
    stopped_early: bool
    cached_features: bool = False
    """Whether the head was trained on kept features of the frozen backbone, exact to the last bits."""


class ModelRecord(_Part):
    """The network as it was built."""

    parameters: int
    input_channels: int
    mean: tuple[float, ...]
    """Per input channel, on the 0..1 pixel scale."""
    std: tuple[float, ...]
    pretrained_mean: tuple[float, ...] | None = None
    """Three means of the pretrained weights, before the input mode adapts them; None in older records."""
    pretrained_std: tuple[float, ...] | None = None
    weights_sha256: str | None
    """Hash of the pretrained tensors in name order (name, dtype, shape, bytes of each), or None for random weights."""
    weights_origin: str
    """Source of the weights, in words."""
    stages: tuple[StageRecord, ...]


class Timing(_Part):
    """Wall time by phase, seconds."""

    data_seconds: float
    """Opening the decoded images."""
    model_seconds: float
    """Building the model and loading its weights."""
    train_seconds: float
    """Training steps of all epochs."""
    feature_seconds: float = 0.0
    """Computing features of a frozen backbone, or reading those of another run."""
    eval_seconds: float
    """Evaluation: validation before any training, after each epoch and at the end, test twice at the end."""
    total_seconds: float
    """Complete run in the worker, with the time before interruptions."""
    train_images_per_second: float
    """Images through forward and backward passes of the complete network / their seconds; of the head alone on kept
    features if nothing else was trained."""
    eval_images_per_second: float
    contended: bool | None
    """Whether training and evaluation (since the last interruption) waited for a processor, or were stopped, for more
    than 5 % of their time, or None if that cannot be measured."""
    resumed_after: tuple[int, ...] = ()
    """Epochs after which the run was interrupted and resumed from a checkpoint."""


class Memory(_Part):
    """Peaks over the run, bytes."""

    peak_rss_bytes: int
    """Resident memory of the worker process during the run, with its libraries."""
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
    """Resolved if the matrix says ``auto``."""
    threads: int
    workers: int
    """Runs that shared the machine."""
    variables: dict[str, str]
    """Environment variables of the workers (allocator, GPU), and those that choose instructions of the processor."""
    git_commit: str | None
    git_dirty: bool | None
    instruction_set: str | None = None
    """Widest one that torch's CPU kernels use, as ``torch.backends.cpu.get_cpu_capability`` names it (``AVX512``): it
    affects the last bits, whose differences grow in training. None in older records."""
    preregistered: str | None = None
    """SHA-256 of the file with the questions asked before the run, as the matrix gave it."""


class Predictions(_Part):
    """File of the test predictions, in the record's folder."""

    file: str
    sha256: str
    rows: int


class ExhibitFiles(_Part):
    """Files for the report's pictures, in the results folder's ``exhibits/``, shared by runs."""

    thumbnails: str | None = None
    """File of test images, or None if the licence or the matrix does not allow it."""
    stem: str | None = None
    """File of the pretrained stem's filters in older records; not used."""


class _Run(_Part):
    """Fields of all records, in the order of the JSON file."""

    schema_version: int = SCHEMA_VERSION
    protocol_version: int = PROTOCOL_VERSION
    id: str
    status: Status
    reason: str | None = None
    """Reason of an unfinished run, in one line."""
    traceback: str | None = None
    log: tuple[str, ...] = ()
    """Last lines of an unfinished run's worker: its log, warnings, output of libraries."""
    spec: RunSpec
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str


class FinishedRun(_Run):
    """Fields of the records of runs that were trained to their end."""

    environment: Environment
    dataset: DatasetRecord
    model: ModelRecord
    history: Annotated[tuple[EpochRecord, ...], Field(min_length=1)]
    best_epoch: int
    """Epochs trained, over all stages, when the chosen weights were reached (`training.choose_by`): 0 is possible."""
    validation: SplitMetrics
    validation_saturated: bool
    """Whether validation accuracy was 1.0 in three epochs or more: it no longer distinguishes them."""
    timing: Timing
    memory: Memory


class DoneRun(FinishedRun):
    """Record of a reported run that was trained and scored."""

    status: Literal["done"] = "done"
    test: SplitMetrics
    last_epoch_test_accuracy: Share
    """With the weights after the last epoch: no choice."""
    predictions: Predictions | None = None
    """None until the store has written them; never None on disk."""
    exhibits: ExhibitFiles | None = None
    """None in older records."""


class TunedRun(FinishedRun):
    """Record of a tuning run that was trained: it has seen no test image, and has no predictions."""

    status: Literal["tuned"] = "tuned"


class UnfinishedRun(_Run):
    """Record of a run that failed, diverged or was cut off; results are null."""

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
"""Record of a run, one JSON file; distinguished by ``status``."""


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

        Probabilities are stored byte by byte, all exponents, then all first bytes of mantissas, and so on, which
        compresses to two thirds of the size where there are many classes.
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
