"""Training policies: the stages of a run, the parameters that each trains, and its learning rate."""

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
"""Which parameters get gradients: the classifier's; those and the scales and shifts of the batch norms (without batch
norms the classifier's alone); those of the classifier and of the second half of the backbone's blocks; every one."""

Backbone = Literal["complete", "first-half"]
"""The part of the network in front of the head: all of it; or what is in front of the second half of timm's feature
blocks, whose activations, averaged over the image, a linear head takes."""

BatchNorm = Literal["train", "eval", "eval-where-frozen"]
"""Mode of the batch norms: ``train`` uses each batch's statistics, in frozen layers too, and moves the running ones;
``eval`` uses the running statistics and leaves them as they are, and puts a completely frozen backbone into eval mode,
dropout and stochastic depth included; ``eval-where-frozen`` does that in frozen layers and trains the rest."""

HEAD_EPOCHS = "head_epochs"
"""Word for the number under ``training.head_epochs``."""


def _check_epochs(value: object) -> object:
    counted = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value is None or value == HEAD_EPOCHS or counted:
        return value
    raise ValueError(f"{value!r} is not a number of epochs: write a whole number from 1 on, or {HEAD_EPOCHS}")


class Stage(Frozen):
    """One stage of a run, with everything that decides its training (all values resolved)."""

    trainable: Trainable
    epochs: int = Field(ge=1)
    """At most."""
    lr: float = Field(gt=0)
    """Learning rate of the first step."""
    head_lr_factor: float = Field(default=1.0, gt=0)
    """The classifier's learning rate is ``lr`` times this."""
    stem_lr_factor: float = Field(default=1.0, gt=0)
    """The learning rate of the stem's weights is ``lr`` times this, their weight decay ``weight_decay`` divided by it.

    Where mean and std are equal on the channels, ``grey-1ch`` with a factor of 3 is trained as ``grey-3ch`` is: the
    three channels get the same gradient, so that their sum moves three times as far.
    """
    batch_norm: BatchNorm
    optimizer: Optimizer
    weight_decay: float = Field(ge=0)
    scheduler: Schedule
    patience: int | None = Field(ge=1)
    """Epochs without a better validation accuracy before the stage ends early, or None if it never does."""

    def keeps_features(self, augment: Sequence[Step]) -> bool:
        """Whether stored features are exact: a frozen backbone in eval mode, and no augmentation but the flip."""
        return self.trainable == "head" and self.batch_norm == "eval" and all(step.name == "hflip" for step in augment)


class StageRule(Frozen):
    """One stage of a policy, relative to the matrix's ``training`` block."""

    trainable: Trainable
    """``head``; ``head+norms``: and the scales and shifts of the batch norms; ``later-half``: the head and the second
    half of the backbone's blocks; ``all``."""
    epochs: Annotated[int | Literal["head_epochs"] | None, BeforeValidator(_check_epochs)] = None
    """A number out of ``training.epochs``, or ``head_epochs`` for ``training.head_epochs``, which come on top of them.
    Without this and ``share``, all of ``training.epochs`` that are left."""
    share: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    """Share of ``training.epochs``, rounded, at least one epoch."""
    lr_factor: Positive = 1.0
    """On ``training.lr``."""
    head_lr_factor: Positive = 1.0
    """That of the head, on the stage's learning rate."""
    stem_lr_factor: Positive = 1.0
    """That of the stem's weights (the convolution that takes the image; not its bias), on the stage's learning rate; it
    divides their weight decay. With ``trainable: all``, ``adamw`` or ``sgd``, or ``adam`` without weight decay. With 3,
    ``grey-1ch`` is trained as ``grey-3ch`` is, where mean and std are equal on the channels."""
    batch_norm: BatchNorm = "train"
    """``train``: each batch's statistics; ``eval``: running statistics, which stay as they are; ``eval-where-frozen``:
    that in frozen layers only."""
    optimizer: Optimizer | None = None
    """Or ``null`` for that of ``training``."""
    weight_decay: NotNegative | None = None
    """Or ``null`` for that of ``training``."""
    scheduler: Schedule | None = None
    """Or ``null`` for that of ``training``."""

    @model_validator(mode="after")
    def _one_length(self) -> StageRule:
        if self.epochs is not None and self.share is not None:
            raise ValueError("a stage has epochs or a share of them, not both")
        return self

    @model_validator(mode="after")
    def _trains_the_stem(self) -> StageRule:
        if self.stem_lr_factor != 1 and self.trainable != "all":
            raise ValueError(f"stem_lr_factor is for trainable: all; {self.trainable} leaves the stem frozen")
        return self


class Policy(Frozen):
    """A way to train: source of the weights, and stages.

    Early stopping and the choice of the epoch, the starting point among them, belong to the last stage; the others run
    all their epochs.
    """

    pretrained: bool
    """Whether the matrix's weights are used, or random ones."""
    backbone: Backbone = "complete"
    """``first-half``: the network of ``truncate``, what is in front of the second half of the feature blocks of timm's
    ``forward_intermediates`` (of a ResNet two stages of four, of an EfficientNet three of five, of a ViT half of its
    encoder blocks), under a new linear head, for which ``source-rows`` is ``default``."""
    choose_start: bool = True
    """Whether the last stage's starting point, too, can be chosen."""
    recalibrate: bool = False
    """Whether the batch norms' running statistics are replaced, before the first step, by those of the run's training
    images: one pass without augmentation, the average over its batches. A network without batch norms is refused."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for people. Not part of the id."""
    stages: Annotated[tuple[StageRule, ...], Field(min_length=1)]
    """One after the other. Early stopping and the choice of the epoch are the last one's."""

    @model_validator(mode="after")
    def _at_most_one_takes_the_rest(self) -> Policy:
        if sum(rule.epochs is None and rule.share is None for rule in self.stages) > 1:
            raise ValueError("only one stage can take all epochs that are left: give the others epochs or a share")
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
    """Return how many of ``training.epochs`` a stage takes, or None if it takes all that are left."""
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
    """Multiply as in decimals: 0.001 x 0.1 is exactly the float 0.0001."""
    return float(Decimal(repr(lr)) * Decimal(repr(factor)))


def resolve_stages(name: str, policy: Policy, settings: TrainingSettings) -> tuple[Stage, ...]:
    """Return the stages of a policy under the matrix's training settings.

    Args:
        name: the policy's, for messages.
        policy: its rules.
        settings: the matrix's ``training`` block, with one learning rate.

    Raises:
        MisplacedValueError: the settings leave a stage without an epoch, or a learning rate that is zero or infinite.
    """
    (lr,) = (settings.policy_lr[name],) if name in settings.policy_lr else settings.lr
    given = f"training.policy_lr.{name}" if name in settings.policy_lr else "training.lr"
    numbers = _epochs(name, policy, settings)
    for rule in policy.stages:
        for part in (1, rule.head_lr_factor, rule.stem_lr_factor):
            factor = rule.lr_factor * part
            if not 0 < _times(lr, factor) < math.inf:
                raise MisplacedValueError(
                    f"{given} ({lr}) times {factor:g}, as policy {name!r} asks, is not a learning rate",
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
