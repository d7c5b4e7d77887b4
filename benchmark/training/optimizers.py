"""A stage's optimizer and learning rate schedule, as objects of torch.optim."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from benchmark.matrix.choices import Choice
from benchmark.matrix.policies import Stage
from benchmark.networks.heads import head_parameters


def make_optimizer(network: nn.Module, stage: Stage) -> torch.optim.Optimizer:
    """Return an optimizer over exactly the parameters that require gradients.

    The classifier has a group of its own, at ``lr * head_lr_factor``, where the factor is not 1 and other parameters
    are trained next to it; it is then the last group.
    """
    head = {id(parameter) for parameter in head_parameters(network).values()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    of_the_head = [parameter for parameter in trained if id(parameter) in head]
    others = [parameter for parameter in trained if id(parameter) not in head]
    head_lr = stage.lr * stage.head_lr_factor
    groups: list[dict[str, Any]]
    if not others or stage.head_lr_factor == 1:
        groups = [{"params": trained, "lr": head_lr}]
    else:
        groups = [{"params": others, "lr": stage.lr}, {"params": of_the_head, "lr": head_lr}]
    common: dict[str, Any] = {"lr": stage.lr, "weight_decay": stage.weight_decay, "fused": True}
    match stage.optimizer.name:
        case "adamw":
            return torch.optim.AdamW(groups, **common)
        case "adam":
            return torch.optim.Adam(groups, **common)
        case "sgd":
            return torch.optim.SGD(groups, momentum=stage.optimizer["momentum"], **common)
    raise ValueError(f"unknown optimizer {stage.optimizer.name!r}")


def lr_factor(choice: Choice, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate's factor at a step (0-based) of a stage; for formulas see `choices.SCHEDULES`."""
    match choice.name:
        case "cosine":
            steps = steps_per_epoch * epochs
            return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
        case "step":
            return float(choice["gamma"] ** (step // (int(choice["size"]) * steps_per_epoch)))
        case "constant":
            return 1.0
    raise ValueError(f"unknown schedule {choice.name!r}")


def make_schedule(
    optimizer: torch.optim.Optimizer, stage: Stage, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the stage's schedule, to be stepped after each optimizer step."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_factor(stage.scheduler, step, steps_per_epoch, stage.epochs)
    )
