"""What a stage trains: the exact set of trainable parameters, and the mode of every module."""

from __future__ import annotations

from typing import Literal

from torch import nn

from benchmark.models import classifier, head_parameters


def set_trainable(network: nn.Module, which: Literal["head", "all"]) -> list[nn.Parameter]:
    """Freeze everything, unfreeze what the stage trains, and return exactly that, in the network's order.

    Raises:
        RuntimeError: the trainable set is not the intended one (a parameter shared between head and backbone).
    """
    head = head_parameters(network)
    wanted = set(head) if which == "head" else {name for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
        parameter.grad = None
    actual = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if actual != wanted:
        raise RuntimeError(f"trainable parameters are off by {sorted(actual ^ wanted)}")
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def set_modes(network: nn.Module, trainable: Literal["head", "all"], batch_norm: Literal["train", "eval"]) -> None:
    """Put every module into the mode that its stage asks for; call it at the start of each training epoch.

    The network and its head are in train mode. ``batch_norm="eval"`` puts the batch norms into eval mode (running
    statistics are used and stay as they are); a frozen backbone (``trainable="head"``) is then in eval mode as a
    whole, dropout and stochastic depth included.
    """
    network.train()
    if batch_norm == "train":
        return
    head = set(classifier(network).modules())
    for module in network.modules():
        frozen = trainable == "head" and module is not network and module not in head
        if frozen or isinstance(module, nn.modules.batchnorm._NormBase):
            module.training = False
