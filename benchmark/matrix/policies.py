"""Training policies: the stages of a run, their trained parameters and learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from benchmark.errors import MisplacedValueError
from benchmark.fields import Frozen, NotNegative, Positive
from benchmark.matrix.choices import Optimizer, Schedule

if TYPE_CHECKING:
    from benchmark.matrix.augmentations import Step
    from benchmark.matrix.settings import TrainingSettings

Trainable = Literal["head", "head+norms", "later-half", "all"]
"""Trained parameters: the classifier; the classifier and the scales and shifts of batch norms, if there are any; the
classifier and the second half of the backbone's blocks; all."""

Backbone = Literal["complete", "first-half"]
"""Part of the network before the head: all of it, or the first half of timm's feature blocks, whose activations are
averaged over the image as input of a linear head."""

BatchNorm = Literal["train", "eval", "eval-where-frozen"]
"""Mode of the batch norms. ``train`` uses each batch's statistics, also in frozen layers, and updates the running ones.
``eval`` uses the running statistics without updating them, and puts a completely frozen backbone into eval mode,
including dropout and stochastic depth. ``eval-where-frozen`` does so in frozen layers only."""

HEAD_EPOCHS = "head_epochs"
"""Word that refers to ``training.head_epochs``."""


def _check_epochs(value: object) -> object:
    counted = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or value == HEAD_EPOCHS or counted:
        return value
    raise ValueError(f"{value!r} is not a number of epochs: write a whole number from 1 on, or {HEAD_EPOCHS}")


class Stage(Frozen):
    """One stage of a run: all values that decide its training, resolved."""

    trainable: Trainable
    epochs: int = Field(ge=1)
    """Maximum number of epochs."""
    lr: float = Field(gt=0)
    """Learning rate of the first step."""
    head_lr_factor: float = Field(default=1.0, gt=0)
    """Factor of the classifier's learning rate on ``lr``."""
    stem_lr_factor: float = Field(default=1.0, gt=0)
    """Factor of the stem's learning rate on ``lr``; the stem's weight decay is divided by it.

    If mean and std are equal on all channels, ``grey-1ch`` with a factor of 3 is trained like ``grey-3ch``, whose three
    channels get the same gradient, so that their sum moves three times as far.
    """
    batch_norm: BatchNorm
    optimizer: Optimizer
    weight_decay: float = Field(ge=0)
    scheduler: Schedule
    patience: int | None = Field(ge=1)
    """Epochs without a better validation score before the stage ends early, or None if it never does."""

    def keeps_features(self, augment: Sequence[Step]) -> bool:
        """Whether cached features are exact: frozen backbone in eval mode, no augmentation except the flip."""
        return self.trainable == "head" and self.batch_norm == "eval" and all(step.name == "hflip" for step in augment)


class StageRule(Frozen):
    """One stage of a policy, relative to the matrix's ``training`` block."""

    trainable: Trainable
    """``head``; ``head+norms``: also the scales and shifts of the batch norms; ``later-half``: the head and the second
    half of the backbone's blocks; ``all``."""
    epochs: Annotated[int | Literal["head_epochs"] | None, BeforeValidator(_check_epochs)] = None
    """A number of epochs, taken from ``training.epochs``; or ``head_epochs`` for ``training.head_epochs``, in addition
    to them. Without this and ``share``, the remaining ``training.epochs``."""
    share: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    """Share of ``training.epochs``, rounded, but at least one epoch."""
    lr_factor: Positive = 1.0
    """Factor of the stage's learning rate on ``training.lr``."""
    head_lr_factor: Positive = 1.0
    """Factor of the head's learning rate on the stage's."""
    stem_lr_factor: Positive = 1.0
    """Factor of the learning rate of the stem's weights (first convolution, without its bias) on the stage's; their
    weight decay is divided by it. For ``trainable: all`` with ``adamw``, ``sgd``, or ``adam`` without weight decay.
    With 3, ``grey-1ch`` is trained like ``grey-3ch`` if mean and std are equal on all channels."""
    batch_norm: BatchNorm = "train"
    """``train``: statistics of each batch; ``eval``: running statistics, which are not updated; ``eval-where-frozen``:
    like ``eval`` in frozen layers, like ``train`` in others."""
    optimizer: Optimizer | None = None
    """``null``: as in ``training``."""
    weight_decay: NotNegative | None = None
    """``null``: as in ``training``."""
    scheduler: Schedule | None = None
    """``null``: as in ``training``."""

    @model_validator(mode="after")
    def _one_length(self) -> StageRule:
        if self.epochs is not None and self.share is not None:
            raise ValueError("a stage cannot have both epochs and share")
        return self

    @model_validator(mode="after")
    def _trains_the_stem(self) -> StageRule:
        if self.stem_lr_factor != 1 and self.trainable != "all":
            raise ValueError(f"stem_lr_factor is for trainable: all; {self.trainable} leaves the stem frozen")
        return self


class Policy(Frozen):
    """A way to train: source of the weights, and stages.

    Early stopping and the choice of the epoch, including the starting point, apply to the last stage; the others run
    all their epochs.
    """

    pretrained: bool
    """Whether to use the matrix's weights instead of random ones."""
    backbone: Backbone = "complete"
    """``first-half``: the network of ``truncate``, the first half of the feature blocks of timm's
    ``forward_intermediates`` (two of a ResNet's four stages, three of an EfficientNet's five, half of a ViT's encoder
    blocks) with a new linear head, for which ``source-rows`` means ``default``."""
    choose_start: bool = True
    """Whether the last stage's starting point can also be chosen."""
    recalibrate: bool = False
    """Whether to replace the batch norms' running statistics before the first step by those of the training images:
    averages over the batches of one pass without augmentation. Networks without batch norms are refused."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One-line description. Not part of the id."""
    stages: Annotated[tuple[StageRule, ...], Field(min_length=1)]
    """Stages in order. Early stopping and the choice of the epoch apply to the last."""

    @model_validator(mode="after")
    def _at_most_one_takes_the_rest(self) -> Policy:
        if sum(rule.epochs is None and rule.share is None for rule in self.stages) > 1:
            raise ValueError("only one stage can take the remaining epochs: give the others epochs or share")
        return self


_EVERYTHING = StageRule(trainable="all")
_AT_A_TENTH = StageRule(trainable="all", lr_factor=0.1)

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "finetune": Policy(
            pretrained=True,
            summary="the head alone (backbone frozen), then everything at lr / 10; batch norms in eval mode throughout",
            stages=(
                StageRule(trainable="head", epochs=HEAD_EPOCHS, batch_norm="eval"),
                StageRule(trainable="all", lr_factor=0.1, batch_norm="eval"),
            ),
        ),
        "finetune-whole": Policy(pretrained=True, summary="everything, in one stage", stages=(_EVERYTHING,)),
        "scratch": Policy(pretrained=False, summary="random weights, everything, in one stage", stages=(_EVERYTHING,)),
        "finetune-author": Policy(
            pretrained=True,
            summary="the head and the batch norms' scales and shifts, then everything at lr / 10; batch norms in train "
            "mode throughout (as pytorch-accelerated's ModelFreezer does by default)",
            stages=(StageRule(trainable="head+norms", epochs=HEAD_EPOCHS), _AT_A_TENTH),
        ),
        "finetune-bn-switch": Policy(
            pretrained=True,
            summary="for 30 % of the epochs the head alone (backbone frozen, in eval mode), then everything at lr / 10 "
            "with the batch norms in train mode, whose starting point is not chosen",
            choose_start=False,
            stages=(StageRule(trainable="head", share=0.3, batch_norm="eval"), _AT_A_TENTH),
        ),
        "feature-extract": Policy(
            pretrained=True,
            summary="the head alone (backbone frozen, in eval mode)",
            stages=(StageRule(trainable="head", batch_norm="eval"),),
        ),
        "bn-only": Policy(
            pretrained=True,
            summary="the head and the batch norms' scales and shifts, in one stage",
            stages=(StageRule(trainable="head+norms"),),
        ),
        "discriminative": Policy(
            pretrained=True,
            summary="everything, in one stage, the head at 10 x lr",
            stages=(StageRule(trainable="all", head_lr_factor=10.0),),
        ),
        "freeze-early": Policy(
            pretrained=True,
            summary="the head and the second half of the backbone's blocks, in one stage; the first half in eval mode",
            stages=(StageRule(trainable="later-half", batch_norm="eval-where-frozen"),),
        ),
        "truncate": Policy(
            pretrained=True,
            backbone="first-half",
            summary="a linear head on the activations at half of the blocks (frozen, in eval mode); a model of timm's",
            stages=(StageRule(trainable="head", batch_norm="eval"),),
        ),
    }
)
"""Policies by name; a matrix can define others under ``own_policies``."""


def _length(rule: StageRule, settings: TrainingSettings) -> int | None:
    """Return how many of ``training.epochs`` a stage takes, or None if it takes the remaining ones."""
    if rule.share is not None:
        return max(1, round(rule.share * settings.epochs))
    return 0 if isinstance(rule.epochs, str) else rule.epochs


def _epochs(name: str, policy: Policy, settings: TrainingSettings) -> list[int]:
    """Return the epochs of each stage."""
    given = [_length(rule, settings) for rule in policy.stages]
    left = settings.epochs - sum(number for number in given if number is not None)
    if left < (None in given):
        needed = settings.epochs - left + (None in given)
        raise MisplacedValueError(
            f"training.epochs ({settings.epochs}) is too few for the stages of policy {name!r}, which need {needed}",
            "training.epochs",
            f"own_policies.{name}",
        )
    return [
        settings.head_epochs if rule.epochs == HEAD_EPOCHS else left if number is None else number
        for rule, number in zip(policy.stages, given, strict=True)
    ]


def _times(lr: float, factor: float) -> float:
    """Multiply as decimals, so that 0.001 x 0.1 is exactly the float 0.0001."""
    return float(Decimal(repr(lr)) * Decimal(repr(factor)))


def resolve_stages(name: str, policy: Policy, settings: TrainingSettings) -> tuple[Stage, ...]:
    """Return the stages of a policy with the matrix's training settings.

    Args:
        name: name of the policy, for messages.
        policy: the policy.
        settings: ``training`` block of the matrix, with one learning rate.

    Raises:
        MisplacedValueError: a stage would have no epochs, or a learning rate would be zero or infinite.
    """
    (lr,) = (settings.policy_lr[name],) if name in settings.policy_lr else settings.lr
    given = f"training.policy_lr.{name}" if name in settings.policy_lr else "training.lr"
    numbers = _epochs(name, policy, settings)
    for rule in policy.stages:
        for part in (1, rule.head_lr_factor, rule.stem_lr_factor):
            factor = rule.lr_factor * part
            if not 0 < _times(lr, factor) < math.inf:
                raise MisplacedValueError(
                    f"{given} ({lr}) times {factor:g}, the factor of policy {name!r}, is not a valid learning rate",
                    given,
                    f"own_policies.{name}",
                )
        optimizer = rule.optimizer or settings.optimizer
        weight_decay = settings.weight_decay if rule.weight_decay is None else rule.weight_decay
        if rule.stem_lr_factor != 1 and optimizer.name == "adam" and weight_decay:
            raise MisplacedValueError(
                f"policy {name!r}: adam's adaptive rate scales the weight decay ({weight_decay:g}) that stem_lr_factor "
                "divides; use adamw or sgd, or weight_decay: 0",
                f"own_policies.{name}",
            )
    patience = settings.early_stopping.patience if settings.early_stopping else None
    last = len(numbers) - 1
    return tuple(
        Stage(
            trainable=rule.trainable,
            epochs=epochs,
            lr=_times(lr, rule.lr_factor),
            head_lr_factor=rule.head_lr_factor,
            stem_lr_factor=rule.stem_lr_factor,
            batch_norm=rule.batch_norm,
            optimizer=rule.optimizer or settings.optimizer,
            weight_decay=settings.weight_decay if rule.weight_decay is None else rule.weight_decay,
            scheduler=rule.scheduler or settings.scheduler,
            patience=patience if index == last else None,
        )
        for index, (rule, epochs) in enumerate(zip(policy.stages, numbers, strict=True))
    )
