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
    """Pixels, both sides after resizing. Of several, each is run, tables and figures name it, and every question is
    answered for each."""
    crop_size: Side | None = None
    """Pixels per side of the central part that the network sees, at most the smallest ``image_size``, or ``null`` for
    the entire image. An augmentation ``crop`` gives images of this size."""
    batch_size: Count = 32
    """Images per step."""
    epochs: Count = 40
    """Epochs of training the whole network, at most; the same for every policy (``feature-extract`` and ``bn-only`` get
    as many)."""
    head_epochs: Count = 20
    """Stage 1 of ``finetune`` and ``finetune-author``, on top of ``epochs``. Part of the id for these."""
    optimizer: Optimizer = ADAMW
    """As in torch.optim, with its defaults but for the parameters here."""
    lr: OneOrSome[Positive] = (1e-3,)
    """Learning rate of the first step; stage 2 of ``finetune`` starts at a tenth. One of several is chosen by the runs
    with ``tune_seeds``."""
    policy_lr: Mapping[str, Positive] = {}
    """Learning rates of single policies, ``{POLICY: RATE, …}``, in the place of ``lr``; not with several there. Part of
    the id for these policies."""
    weight_decay: NotNegative = 0.01
    """AdamW's is decoupled, the others' is added to the gradient."""
    scheduler: Schedule = COSINE
    """``cosine``: per step, to zero over each stage; ``step``: times ``gamma`` after every ``size`` epochs of a stage;
    ``multistep``: times ``gamma`` when each share (``milestones``) of a stage's epochs is done; ``constant``."""
    head_init: Head = DEFAULT_HEAD
    """``default``: PyTorch's own for every network (timm's for EfficientNets is wider, uniform within 1 /
    sqrt(classes)); ``xavier``; ``source-rows``: the pretrained head's rows for these classes, ``{source-rows: {CLASS:
    ROW}}``."""
    augment: Annotated[tuple[Augmentation, ...], AfterValidator(_distinct_names)] = (parse("hflip"),)
    """On training images only, each a name or a name with its parameters (``{rotation: {degrees: 30}}``); ``python -m
    benchmark datasets show NAME --augment all`` shows them. ``hue``, ``saturation`` and ``random-greyscale`` need
    colour and are refused with a grey mode."""
    early_stopping: EarlyStopping | None = EarlyStopping(patience=10)
    """``{patience: N}``: the last stage ends after N epochs without a better score on validation (that of
    ``choose_by``), its starting point included; ``null``: never."""
    choose_by: ChooseBy = "accuracy"
    """Validation score that chooses among the epochs of the last stage and its starting point: ``accuracy`` (ties: the
    lower loss, then the earlier; with fewer than 100 validation images the loss goes first), ``loss`` (ties: the
    accuracy) or ``roc_auc`` (ties: the loss)."""
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"
    """``auto``: fp32 on a CPU; bf16 or fp16 on a GPU, as it can."""

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
