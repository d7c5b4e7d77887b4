"""The ``training`` block of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from benchmark.errors import MisplacedValueError
from benchmark.fields import Count, Frozen, NotNegative, OneOrSome, Positive, distinct
from benchmark.matrix.augmentations import Step, as_entry, parse
from benchmark.matrix.choices import ADAMW, COSINE, DEFAULT_HEAD, Head, Optimizer, Schedule


def _distinct_names(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    distinct(tuple(step.name for step in steps))
    return steps


Augmentation = Annotated[Step, BeforeValidator(parse), PlainSerializer(as_entry)]
"""In a file: a name, or a name with its parameters."""

ChooseBy = Literal["accuracy", "loss", "roc_auc"]
"""Validation score that chooses the epoch of a run, see `benchmark.training.progress.choice_key`."""

FEWEST_FOR_ACCURACY = 100
"""Validation images from which their accuracy chooses the epoch: of fewer, one image is more than a percent point."""

KeepThumbnails = Literal["licensed", "all", "none"]
"""Datasets whose test images leave thumbnails: those whose licence allows it, all, or none."""


Side = Annotated[int, Field(ge=8, le=2048, strict=True)]
"""Pixels per side of an image."""


class EarlyStopping(Frozen):
    """End of a stage before its last epoch."""

    patience: Count
    """Epochs without a better score of `choose_by` on validation."""


class TrainingSettings(Frozen):
    """The ``training`` block; the defaults are those of ``full``."""

    image_size: OneOrSome[Side] = (224,)
    """Both sides after resizing, pixels; of several, each gives cells of its own."""
    crop_size: Side | None = None
    """Pixels per side of the central part that the network sees, or None if it sees everything."""
    batch_size: Count = 32
    epochs: Count = 40
    """Of training the whole network, at most; the same for every policy."""
    head_epochs: Count = 20
    """Of training the head first, on top of them; stage 1 of `finetune`."""
    optimizer: Optimizer = ADAMW
    lr: OneOrSome[Positive] = (1e-3,)
    """Of the first step. Several: candidates, of which the runs on the matrix's ``tune_seeds`` choose one."""
    policy_lr: Mapping[str, Positive] = {}
    """In the place of ``lr``, the rate of single policies, by name."""
    weight_decay: NotNegative = 0.01
    scheduler: Schedule = COSINE
    head_init: Head = DEFAULT_HEAD
    augment: Annotated[tuple[Augmentation, ...], AfterValidator(_distinct_names)] = (parse("hflip"),)
    early_stopping: EarlyStopping | None = EarlyStopping(patience=10)
    choose_by: ChooseBy = "accuracy"
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"

    @model_validator(mode="after")
    def _crop_within_the_image(self) -> TrainingSettings:
        smallest = min(self.image_size)
        if self.crop_size is not None and self.crop_size > smallest:
            raise MisplacedValueError(
                f"crop_size ({self.crop_size}) is more than image_size ({smallest})",
                "training.crop_size",
                "training.image_size",
            )
        return self
