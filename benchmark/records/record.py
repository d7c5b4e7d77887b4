"""What one run left behind: the record's schema, field by field."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter

from benchmark.fields import Frozen
from benchmark.matrix.matrix import RunSpec
from benchmark.matrix.policies import BatchNorm, Trainable
from benchmark.protocol import PROTOCOL_VERSION

if TYPE_CHECKING:  # `plan` and `status` read records without loading pandas
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 1
"""Version of this file's schema."""

Share = Annotated[float, Field(ge=0, le=1)]

Failure = Literal["failed", "diverged", "timeout", "oom", "killed"]
Status = Literal["done", Failure]


class _Part(Frozen):
    model_config = ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True)  # a loss may become either


class EpochRecord(_Part):
    """One epoch. Losses are means of the cross-entropy over images (nats); accuracies are shares in 0..1."""

    stage: int
    """1-based."""
    epoch: int
    """1-based, counted over all stages."""
    lr: float
    """Learning rate that the optimizer applied at the epoch's first step."""
    train_loss: float
    val_loss: float
    val_accuracy: Share
    test_accuracy: Share
    train_seconds: float
    """Wall time of the epoch's training steps."""


class SplitMetrics(_Part):
    """Scores of the chosen checkpoint on one split."""

    accuracy: Share
    """Correct images / images (micro average), 0..1."""
    macro_f1: Annotated[float, Field(ge=0, le=1 + 1e-6)]
    """Unweighted mean over classes of the F1 score, 0..1; a sum of float32, so its last digits may pass 1."""
    log_loss: float
    """Mean cross-entropy, nats per image."""


class DatasetRecord(_Part):
    """The images behind the run."""

    fingerprint: str
    """Hash of every image's content, label and split: records with different ones are not comparable."""
    classes: tuple[str, ...]
    train_images: int
    """After ``limit``."""
    validation_images: int
    test_images: int
    notes: tuple[str, ...] = ()
    """How missing splits were drawn and what was left out, in words."""
    folds: int | None = None
    """Where the test split is one fold of a cross-validation, chosen by the seed: the number of folds."""


class StageRecord(_Part):
    """What one stage trained."""

    trainable: Trainable
    trainable_parameters: int
    batch_norm: BatchNorm
    epochs_run: int
    stopped_early: bool
    cached_features: bool = False
    """The head was trained on kept features of the frozen backbone, exact to the last bits."""


class ModelRecord(_Part):
    """The network as it was built."""

    parameters: int
    input_channels: int
    mean: tuple[float, ...]
    """Per input channel, on the 0..1 pixel scale."""
    std: tuple[float, ...]
    pretrained_mean: tuple[float, ...] | None = None
    """Three means of the pretrained weights, whatever the mode makes of them; None in older records."""
    pretrained_std: tuple[float, ...] | None = None
    weights_sha256: str | None
    """Of the pretrained tensors in name order (name, dtype, shape and bytes of each); None for random weights."""
    weights_origin: str
    """Where they came from, in words."""
    stages: tuple[StageRecord, ...]


class Timing(_Part):
    """Seconds by phase, wall clock."""

    data_seconds: float
    """Opening the decoded images."""
    model_seconds: float
    """Building the model and loading its weights."""
    train_seconds: float
    """Training steps of all epochs."""
    feature_seconds: float = 0.0
    """Features of a frozen backbone: computing them, or reading those that another run computed."""
    eval_seconds: float
    """Evaluation on validation and test, all epochs and the final one."""
    total_seconds: float
    """Whole run, in the worker, the time before interruptions included."""
    train_images_per_second: float
    """Images through forward and backward passes of the whole network / their seconds; of the head alone on kept
    features where nothing else was trained."""
    eval_images_per_second: float
    contended: bool | None
    """True when training and evaluation (since the last interruption) waited for a processor, or were stopped, for
    more than 5 % of their time; None where that cannot be measured."""
    resumed_after: tuple[int, ...] = ()
    """Epochs after which the run went on from a checkpoint, having been interrupted."""


class Memory(_Part):
    """Peaks over the run, bytes."""

    peak_rss_bytes: int
    """Resident memory of the worker process during the run, libraries and what earlier runs left included."""
    peak_device_bytes: int | None
    """Allocated on the GPU; None on a CPU."""


class Environment(_Part):
    """What it ran on."""

    python: str
    packages: dict[str, str]
    platform: str
    cpu: str
    device: str
    """``cpu`` or the GPU's name."""
    precision: Literal["fp32", "fp16", "bf16"]
    """What ``auto`` became."""
    threads: int
    workers: int
    """Runs that shared the machine."""
    variables: dict[str, str]
    """Environment variables that the workers were started with (allocator, threads)."""
    git_commit: str | None
    git_dirty: bool | None
    instruction_set: str | None = None
    """The widest that torch's CPU kernels use here, as ``torch.backends.cpu.get_cpu_capability`` names it (``AVX512``):
    it decides the last bits, which training makes grow. None in records written before it was recorded."""


class Predictions(_Part):
    """The test predictions' file, beside the record."""

    file: str
    sha256: str
    rows: int


class ExhibitFiles(_Part):
    """Files for the report's pictures, in the results folder's ``exhibits/``, shared among runs."""

    thumbnails: str | None = None
    """Of the test images; None where the licence does not allow them, or the matrix asks for none."""
    stem: str | None = None
    """A file with the filters of the pretrained stem, in records of earlier versions; read by nothing."""


class _Run(_Part):
    """Fields of every run's record, in the order of the JSON file."""

    schema_version: int = SCHEMA_VERSION
    protocol_version: int = PROTOCOL_VERSION
    id: str
    status: Status
    reason: str | None = None
    """Why it is not done, in one line."""
    traceback: str | None = None
    log: tuple[str, ...] = ()
    """The last lines that the worker wrote during a run that is not done: its log, warnings, what libraries print."""
    spec: RunSpec
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str


class DoneRun(_Run):
    """Record of a run that was trained and scored to its end."""

    status: Literal["done"] = "done"
    environment: Environment
    dataset: DatasetRecord
    model: ModelRecord
    history: Annotated[tuple[EpochRecord, ...], Field(min_length=1)]
    best_epoch: int
    """Epoch of the chosen checkpoint: best validation accuracy, then lower validation loss, then earlier."""
    validation: SplitMetrics
    test: SplitMetrics
    last_epoch_test_accuracy: Share
    article_accuracy: Share
    """Best test accuracy over all epochs: the article's way, optimistic."""
    validation_saturated: bool
    """Validation accuracy was 1.0 in three epochs or more: it no longer chooses between them."""
    timing: Timing
    memory: Memory
    predictions: Predictions | None = None
    """None until the store has written them; a record on disk always has them."""
    exhibits: ExhibitFiles | None = None
    """None in records that were made before runs left any."""


class UnfinishedRun(_Run):
    """Record of a run that failed, diverged or was cut off; the results of a done run are null."""

    status: Failure
    environment: Environment | None = None
    dataset: None = None
    model: None = None
    history: tuple[EpochRecord, ...] = ()
    """Epochs that the worker logged before it ended."""
    best_epoch: None = None
    validation: None = None
    test: None = None
    last_epoch_test_accuracy: None = None
    article_accuracy: None = None
    validation_saturated: None = None
    timing: None = None
    memory: None = None
    predictions: None = None
    exhibits: None = None


RunRecord: TypeAlias = DoneRun | UnfinishedRun
"""One run's record, one JSON file; ``status`` decides which of the two it is."""


@functools.cache
def record_adapter() -> TypeAdapter[RunRecord]:
    """Return the reader of records, built on first use."""
    return TypeAdapter(Annotated[RunRecord, Field(discriminator="status")])


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of the chosen checkpoint on the test split, one row an image, in the dataset's order."""

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

        columns: dict[str, object] = {
            "image_id": list(self.image_id),
            "label": self.label.astype("int64"),
            "predicted": self.predicted.astype("int64"),
        }
        for k in range(self.probabilities.shape[1]):
            columns[f"p{k}"] = self.probabilities[:, k].astype("float32")
        return pd.DataFrame(columns)
