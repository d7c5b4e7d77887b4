"""Freezing: the parameters a stage trains, the blocks of a backbone, and train or eval mode of the modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from benchmark.errors import UserError
from benchmark.matrix.policies import BatchNorm, Trainable
from benchmark.networks.first_half import PREFIX, FirstHalf
from benchmark.networks.heads import classifier, head_parameters

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ENCODER = "encoder"
"""Name of the module that contains the list of blocks in torchvision's vision transformers."""


def _trained_names(network: nn.Module, which: Trainable) -> set[str]:
    everything = {name for name, _ in network.named_parameters()}
    if which == "all":
        return everything
    if which == "later-half":
        return everything - early_half(network)
    return set(head_parameters(network)) | (_norm_parameters(network) if which == "head+norms" else set())


def _norm_parameters(network: nn.Module) -> set[str]:
    """Return the names of the batch norms' scales and shifts."""
    norms = [(path, module) for path, module in network.named_modules() if isinstance(module, _NormBase)]
    return {f"{path}.{name}" for path, module in norms for name, _ in module.named_parameters(recurse=False)}


def set_trainable(network: nn.Module, which: Trainable) -> list[nn.Parameter]:
    """Freeze everything except the parameters that the stage trains; return these in the network's order.

    Raises:
        UserError: half of the network should be frozen, but it has no recognisable blocks (`early_half`).
        RuntimeError: other parameters than intended are trainable (head and backbone share a parameter).
    """
    trained = _trained_names(network, which)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
        parameter.grad = None
    actual = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if actual != trained or not trained:
        raise RuntimeError(f"trainable parameters are off by {sorted(actual ^ trained)}")
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def set_modes(network: nn.Module, trainable: Trainable, batch_norm: BatchNorm) -> None:
    """Put every module into train or eval mode for a stage; to be called at the start of each training epoch.

    The network and its head are in train mode. With ``batch_norm="eval"`` the batch norms are in eval mode (running
    statistics are used and not updated), and a frozen backbone (``trainable="head"``) is completely in eval mode,
    including dropout and stochastic depth. With ``eval-where-frozen`` every module whose parameters are all frozen is
    in eval mode, with its submodules, and the others are in train mode.
    """
    network.train()
    if batch_norm == "train":
        return
    head = set(classifier(network).modules())
    for module in network.modules():
        if module is network or module in head:
            continue
        parameters = list(module.parameters())
        if batch_norm == "eval-where-frozen":
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        elif trainable == "head" or isinstance(module, _NormBase):
            module.training = False


def early_half(network: nn.Module) -> set[str]:
    """Return the names of the parameters before the second half of the backbone's blocks.

    They belong to the first half of the blocks (the smaller half if the number is odd) and to everything before and
    between these: stem, embeddings, norms, downsampling. Blocks are:

    - timm: a layer of its layer-wise learning rate decay (the model's ``group_matcher``), other than the stem: a
      residual block of a ResNet, an inverted one of an EfficientNet, an encoder block of a ViT; in some hierarchical
      networks (CoAtNet, GCViT, MViT, PVT) a complete stage.
    - torchvision, and the few models of timm without a ``group_matcher`` (PoolFormer, PiT): a module of several weights
      (tensors of two dimensions or more) that is reached from the network through lists of modules and ViT's encoder
      alone: a residual or inverted block, Fire, a dense layer, Inception, an encoder block. Without one
      (AlexNet, VGG), each convolution and linear layer in front of the head.

    Raises:
        UserError: fewer than two blocks are found.
    """
    starts = block_starts(network)
    if len(starts) < 2:
        raise UserError(
            f"{type(network).__name__}: fewer than two blocks found in its backbone, so half of it cannot be frozen. "
            "Leave out the policy freeze-early and stages with trainable: later-half."
        )
    return starts[len(starts) // 2]


def block_starts(network: nn.Module) -> list[set[str]]:
    """Return the names of the parameters before each block of the backbone, one set per block, in order."""
    if isinstance(network, FirstHalf):
        return [{f"{PREFIX}{name}" for name in before} for before in _starts(network.backbone, set())]
    return _starts(network, set(head_parameters(network)))


def _starts(network: nn.Module, head: set[str]) -> list[set[str]]:
    by_group = hasattr(network, "group_matcher")
    return _starts_by_group(network, head) if by_group else _starts_by_structure(network, head)


def _starts_by_group(network: nn.Module, head: set[str]) -> list[set[str]]:
    layers = group_parameters(network, cast(Any, network).group_matcher(coarse=False))
    parameters = dict(network.named_parameters())
    starts, before = [], set[str]()
    for number in sorted(layers):
        names = layers[number]
        if number > 0 and any(parameters[name].dim() > 1 for name in names if name not in head):
            starts.append(set(before))
        before.update(names)
    return starts


def _starts_by_structure(network: nn.Module, head: set[str]) -> list[set[str]]:
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


def _weights(path: str, module: nn.Module, head: set[str]) -> int:
    return sum(p.dim() > 1 for name, p in module.named_parameters() if f"{path}.{name}" not in head)
