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
"""An augmentation, written as a name, or a name with parameters."""

ChooseBy = Literal["accuracy", "loss", "roc_auc"]
"""Validation score that chooses the epoch of a run, see `benchmark.training.progress.choice_key`."""

FEWEST_FOR_ACCURACY = 100
"""Smallest number of validation images for accuracy to choose the epoch; with fewer, one image is over 1 %."""

KeepThumbnails = Literal["licensed", "all", "none"]
"""Datasets whose test images are kept as thumbnails: those whose licence allows it, all, or none."""


Side = Annotated[int, Field(ge=8, le=2048, strict=True)]
"""Pixels per side of an image."""


class EarlyStopping(Frozen):
    """Early stopping of a stage."""

    patience: Count
    """Epochs without a better validation score (`choose_by`)."""


class TrainingSettings(Frozen):
    """The ``training`` block; its defaults are the values of ``full``."""

    image_size: OneOrSome[Side] = (224,)
    """Pixels, both sides after resizing. With several sizes, each is run and named in tables and figures, and every
    question is answered for each."""
    crop_size: Side | None = None
    """Pixels per side of the centre crop that the network sees, at most the smallest ``image_size``, or ``null`` for
    the entire image. The augmentation ``crop`` produces images of this size."""
    batch_size: Count = 32
    """Images per step."""
    epochs: Count = 40
    """Maximum number of epochs, the same for every policy (also for ``feature-extract`` and ``bn-only``)."""
    head_epochs: Count = 20
    """Epochs of stage 1 of ``finetune`` and ``finetune-author``, besides ``epochs``. Part of the id for these."""
    optimizer: Optimizer = ADAMW
    """Optimizer of torch.optim, with its defaults for all parameters not given here."""
    lr: OneOrSome[Positive] = (1e-3,)
    """Learning rate of the first step; stage 2 of ``finetune`` starts at a tenth. If several are given, the runs with
    ``tune_seeds`` choose one."""
    policy_lr: Mapping[str, Positive] = {}
    """Learning rates of single policies, ``{POLICY: RATE, …}``, instead of ``lr``; not allowed with several values of
    ``lr``. Part of the id for these policies."""
    weight_decay: NotNegative = 0.01
    """Weight decay: decoupled for AdamW, added to the gradient for the others."""
    scheduler: Schedule = COSINE
    """``cosine``: per step, to zero over each stage; ``step``: times ``gamma`` after every ``size`` epochs of a stage;
    ``multistep``: times ``gamma`` when each share (``milestones``) of a stage's epochs is done; ``constant``."""
    head_init: Head = DEFAULT_HEAD
    """``default``: PyTorch's initialisation for every network (timm's for EfficientNets is wider, uniform within 1 /
    sqrt(classes)); ``xavier``; ``source-rows``: rows of the pretrained head for these classes, ``{source-rows: {CLASS:
    ROW}}``."""
    augment: Annotated[tuple[Augmentation, ...], AfterValidator(_distinct_names)] = (parse("hflip"),)
    """Augmentations of training images: names, or names with parameters (``{rotation: {degrees: 30}}``); ``python -m
    benchmark datasets show NAME --augment all`` shows them. ``hue``, ``saturation`` and ``random-greyscale`` need
    colour and are refused with a grey mode."""
    early_stopping: EarlyStopping | None = EarlyStopping(patience=10)
    """``{patience: N}``: the last stage ends after N epochs without a better validation score (``choose_by``), counted
    from its starting point; ``null``: never."""
    choose_by: ChooseBy = "accuracy"
    """Validation score that chooses among the epochs of the last stage and its starting point: ``accuracy`` (ties:
    lower loss, then earlier epoch; with fewer than 100 validation images the loss comes first), ``loss`` (ties:
    accuracy) or ``roc_auc`` (ties: loss)."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """``auto``: fp32 on a CPU; on a GPU bf16 if it is fast there, else fp16."""

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
