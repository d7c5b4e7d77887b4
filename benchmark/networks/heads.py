"""The head: a network's last layer, with one output per class. Everything before it is the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.networks.libraries.torchvision_models import last_layer
from benchmark.seeding import derive_seed

HeadInit = Literal["default", "xavier"] | Sequence[int | None]
"""``default``: PyTorch's initialisation of the layer. ``xavier``: see `initialise_head`. A sequence: one row of the
pretrained head (counted from 0) per class, in label order, or None for ``default``."""


def classifier(network: nn.Module) -> nn.Module:
    """Return the network's classifier.

    In timm models it is the module returned by ``get_classifier``, in torchvision models the last layer: a linear
    layer, or SqueezeNet's 1 x 1 convolution. AlexNet and VGG have three linear layers. The last is the head; the other
    two belong to the backbone, as in PyTorch's tutorial on transfer learning, which replaces and trains only the last
    layer. They are pretrained, and if they are frozen, the features are the 4096 inputs of the last layer.

    Attention pooling belongs to the backbone; the head is the linear layer after it.

    Raises:
        UserError: there is not exactly one module with parameters. Networks built for distillation have two heads
            whose outputs are averaged (DeiT's distilled variants, LeViT, EfficientFormer, SwiftFormer); others none.
    """
    module = _named_classifier(network)
    title = type(network).__name__
    if isinstance(module, (tuple, list)):
        raise UserError(
            f"{title} has {len(module)} classifiers (for distillation) instead of one head to replace and train. "
            "Use a variant without distillation."
        )
    if not isinstance(module, nn.Module) or not any(True for _ in module.parameters()):
        raise UserError(f"{title} has no classifier with weights, so it cannot get a new head.")
    return module


def _named_classifier(network: nn.Module) -> object:
    if hasattr(network, "get_classifier"):
        return cast(Any, network).get_classifier()
    if type(network).__module__.startswith("torchvision.models."):
        return last_layer(network)[1]
    raise UserError(f"{type(network).__name__} is not a timm or torchvision model; its classifier is unknown.")


def head_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the classifier's parameters by their names in the network."""
    own = {id(parameter) for parameter in classifier(network).parameters()}
    return {name: parameter for name, parameter in network.named_parameters() if id(parameter) in own}


def is_headless(network: nn.Module) -> bool:
    """Whether a network is published without a classifier, like self-supervised networks (DINOv3)."""
    return isinstance(_named_classifier(network), nn.Identity)


def initialise_head(
    network: nn.Module, how: HeadInit, *, seed: int, pretrained: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Initialise the head, in place.

    ``default`` does not change it. ``xavier``: weights uniform within sqrt(6 / (inputs + outputs)) (Glorot and
    Bengio 2010, PyTorch's ``xavier_uniform_``), drawn from (seed, tensor name), biases zero. Rows: weights and bias of
    a class are copied from the given row of the pretrained head; classes without a row keep the default.

    Args:
        network: with its new head, built by `benchmark.networks.initialisation.seeded_build`.
        how: see `HeadInit`.
        seed: seed of the run.
        pretrained: the checkpoint including its head, with the network's tensor names; needed for rows.

    Raises:
        UserError: the head is not one linear layer or convolution; or the pretrained head is missing, lacks the row, or
            has another number of inputs.
    """
    if how == "default":
        return
    layer = classifier(network)
    title = type(network).__name__
    if not isinstance(layer, (nn.Linear, nn.Conv2d)):
        raise UserError(f"head_init: the head of {title} is a {type(layer).__name__}, which only supports default.")
    with torch.no_grad():
        if isinstance(how, str):
            for name, parameter in head_parameters(network).items():
                if parameter.dim() == 1:
                    parameter.zero_()
                else:
                    generator = torch.Generator().manual_seed(derive_seed(seed, "head", name, how))
                    nn.init.xavier_uniform_(parameter, generator=generator)
            return
        if pretrained is None:
            raise UserError("head_init: rows of a pretrained head need pretrained weights, but these are random.")
        for name, parameter in head_parameters(network).items():
            _copy_rows(name, parameter, how, pretrained)


def _copy_rows(
    name: str, parameter: nn.Parameter, rows: Sequence[int | None], pretrained: Mapping[str, torch.Tensor]
) -> None:
    if len(rows) != len(parameter):
        raise UserError(f"head_init: {len(rows)} rows for {len(parameter)} classes.")
    source = pretrained.get(name)
    if source is None:
        raise UserError(f"head_init: the checkpoint has no head to take rows from ({name} is missing).")
    if source.shape[1:] != parameter.shape[1:]:
        raise UserError(
            f"head_init: the rows of {name} have shape {tuple(source.shape[1:])} in the checkpoint, "
            f"but {tuple(parameter.shape[1:])} in the network."
        )
    for position, row in enumerate(rows):
        if row is None:
            continue
        if not 0 <= row < len(source):
            raise UserError(f"head_init: row {row}: the pretrained head has rows 0 to {len(source) - 1}.")
        parameter[position] = source[row]
