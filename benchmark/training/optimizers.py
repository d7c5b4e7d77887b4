"""A stage's optimizer and learning rate schedule, as objects of torch.optim."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from benchmark.matrix.choices import Choice
from benchmark.matrix.policies import Stage
from benchmark.networks.heads import head_parameters


def make_optimizer(network: nn.Module, stage: Stage, stem: Collection[str] = ()) -> torch.optim.Optimizer:
    """Return an optimizer over exactly the parameters that require gradients.

    If its factor is not 1, the classifier has a separate group with ``lr * head_lr_factor``, and the stem one with
    ``lr * stem_lr_factor`` and ``weight_decay / stem_lr_factor``. All other trained parameters are in the first group,
    with ``lr``.

    Args:
        network: network to train.
        stage: stage of the run.
        stem: names of the stem's weights (`stems.stem_weights`), for a stage with ``stem_lr_factor``.
    """
    head = head_parameters(network)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(stage.lr, stage.weight_decay): []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            lr, weight_decay = stage.lr, stage.weight_decay
            if name in head:
                lr *= stage.head_lr_factor
            elif name in stem:
                lr, weight_decay = lr * stage.stem_lr_factor, weight_decay / stage.stem_lr_factor
            groups.setdefault((lr, weight_decay), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": parameters, "lr": lr, "weight_decay": weight_decay}
        for (lr, weight_decay), parameters in groups.items()
        if parameters
    ]
    match stage.optimizer.name:
        case "adamw":
            return torch.optim.AdamW(options, fused=True)
        case "adam":
            return torch.optim.Adam(options, fused=True)
        case "sgd":
            return torch.optim.SGD(options, momentum=stage.optimizer["momentum"], fused=True)
    raise ValueError(f"unknown optimizer {stage.optimizer.name!r}")


def lr_factor(choice: Choice, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate at a step (0-based) of a stage; formulas are in `choices.SCHEDULES`."""
    match choice.name:
        case "cosine":
            steps = steps_per_epoch * epochs
            return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
        case "step":
            return float(choice["gamma"] ** (step // (int(choice["size"]) * steps_per_epoch)))
        case "multistep":
            return float(choice["gamma"] ** bisect_right(choice["milestones"], step // steps_per_epoch / epochs))
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
