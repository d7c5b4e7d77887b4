"""Training policies: what is trained, in which stages, at which learning rate. Data only; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmark.errors import MisplacedValueError

if TYPE_CHECKING:
    from benchmark.matrix import TrainingSettings


class Stage(BaseModel):
    """One stage of a policy, with everything that decides its training (all values resolved)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainable: Literal["head", "all"]
    """Which parameters get gradients: the classifier's, or every one."""
    epochs: int = Field(ge=1)
    """Epochs at most."""
    lr: float = Field(gt=0)
    """Learning rate of the first step."""
    batch_norm: Literal["train", "eval"]
    """Mode of the backbone's batch norms (and dropout) in this stage: ``eval`` freezes their running statistics."""
    optimizer: Literal["adamw"]
    weight_decay: float = Field(ge=0)
    scheduler: Literal["cosine"]
    """``cosine``: per step, from ``lr`` to zero over the stage's epochs."""
    patience: int | None = Field(ge=1)
    """Epochs without a better validation accuracy before the stage ends early; None: never."""


class Policy(BaseModel):
    """A named way to train: where the weights come from and through which stages they go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pretrained: bool
    """False: random weights, whatever the matrix says."""
    summary: str


_Stages = Callable[["TrainingSettings"], tuple[Stage, ...]]


def _stage(settings: TrainingSettings, **given: object) -> Stage:
    common = {
        "optimizer": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "scheduler": settings.scheduler,
    }
    return Stage.model_validate({**common, **given})


def _patience(settings: TrainingSettings) -> int | None:
    return settings.early_stopping.patience if settings.early_stopping else None


def _whole(settings: TrainingSettings) -> tuple[Stage, ...]:
    return (
        _stage(
            settings,
            trainable="all",
            epochs=settings.epochs,
            lr=settings.lr,
            batch_norm="train",
            patience=_patience(settings),
        ),
    )


def _head_then_all(settings: TrainingSettings) -> tuple[Stage, ...]:
    if settings.head_epochs >= settings.epochs:
        raise MisplacedValueError(
            f"training.head_epochs ({settings.head_epochs}) must be below training.epochs ({settings.epochs}): "
            "policy 'finetune' needs at least one epoch for its second stage",
            "training.head_epochs",
            "training.epochs",
        )
    head = _stage(
        settings,
        trainable="head",
        epochs=settings.head_epochs,
        lr=settings.lr,
        batch_norm="eval",
        patience=None,
    )
    everything = _stage(
        settings,
        trainable="all",
        epochs=settings.epochs - settings.head_epochs,
        lr=settings.lr / 10,
        batch_norm="train",
        patience=_patience(settings),
    )
    return head, everything


_KNOWN: tuple[tuple[Policy, _Stages], ...] = (
    (
        Policy(
            name="finetune",
            pretrained=True,
            summary="the head alone (backbone frozen, in eval mode), then everything at lr / 10",
        ),
        _head_then_all,
    ),
    (Policy(name="finetune-whole", pretrained=True, summary="everything, in one stage"), _whole),
    (Policy(name="scratch", pretrained=False, summary="random weights, everything, in one stage"), _whole),
)

POLICIES: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy, _ in _KNOWN})
_STAGES = {policy.name: stages for policy, stages in _KNOWN}


def stages(policy: str, settings: TrainingSettings) -> tuple[Stage, ...]:
    """Return the stages of a policy under the matrix's training settings.

    Args:
        policy: a key of `POLICIES`.
        settings: the matrix's ``training`` block.

    Raises:
        MisplacedValueError: the settings leave a stage without an epoch.
    """
    return _STAGES[policy](settings)
