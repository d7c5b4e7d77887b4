"""The blocks of a backbone in the order in which an image goes through them, and what stands in the first half."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

from benchmark.errors import UserError
from benchmark.heads import head_parameters

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ENCODER = "encoder"
"""torchvision's vision transformers keep their list of blocks in a module of this name."""


def early_half(network: nn.Module) -> set[str]:
    """Return the names of the parameters that stand in front of the second half of the backbone's blocks.

    They are the first half of the blocks (of an odd number the smaller half) and all that stands in front of these and
    between them: the stem, embeddings, norms, downsampling. What counts as a block:

    - timm: a layer of its layer-wise learning rate decay (the model's ``group_matcher``), other than the stem: a
      residual block of a ResNet, an inverted one of an EfficientNet, an encoder block of a ViT; in some hierarchical
      networks (CoAtNet, GCViT, MViT, PVT) a whole stage.
    - torchvision, and the few models of timm without a ``group_matcher`` (PoolFormer, PiT): a module of several weights
      (tensors of two dimensions or more) that is reached from the network through lists of modules and ViT's encoder
      alone: a residual or inverted block, Fire, a dense layer, Inception, an encoder block. Where there is none
      (AlexNet, VGG), each convolution and linear layer in front of the head.

    Raises:
        UserError: fewer than two blocks are found.
    """
    starts = block_starts(network)
    if len(starts) < 2:
        raise UserError(
            f"{type(network).__name__}: no two blocks are found in its backbone, so that no half can be frozen. Leave "
            "out the policy freeze-early and stages with trainable: later-half."
        )
    return starts[len(starts) // 2]


def block_starts(network: nn.Module) -> list[set[str]]:
    """Return, for each block of the backbone in order, the names of the parameters in front of it."""
    return _layers_of_timm(network) if hasattr(network, "group_matcher") else _blocks_by_structure(network)


def _layers_of_timm(network: nn.Module) -> list[set[str]]:
    layers = group_parameters(network, cast(Any, network).group_matcher(coarse=False))
    parameters, head = dict(network.named_parameters()), head_parameters(network)
    starts, before = [], set[str]()
    for number in sorted(layers):
        names = layers[number]
        if number > 0 and any(parameters[name].dim() > 1 for name in names if name not in head):
            starts.append(set(before))
        before.update(names)
    return starts


def _blocks_by_structure(network: nn.Module) -> list[set[str]]:
    """Return, for each block in order, the names of the parameters in front of it: those registered before."""
    head = head_parameters(network)
    units = [(name, _weights(name, module, head)) for name, module in _units("", network)]
    several = [name for name, weights in units if weights > 1]
    parameters = [name for name, _ in network.named_parameters()]
    starts = []
    for block in several or [name for name, weights in units if weights == 1]:
        first = next(place for place, name in enumerate(parameters) if name.startswith(f"{block}."))
        starts.append(set(parameters[:first]))
    return starts


def _units(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if isinstance(child, _LISTS) or path == _ENCODER:
            yield from _units(f"{path}.", child)
        else:
            yield path, child


def _weights(path: str, module: nn.Module, head: dict[str, nn.Parameter]) -> int:
    return sum(p.dim() > 1 for name, p in module.named_parameters() if f"{path}.{name}" not in head)
