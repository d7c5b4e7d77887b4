"""What a stage trains: the exact set of trainable parameters, and the mode of every module."""

from __future__ import annotations

from torch import nn

from benchmark.blocks import early_half
from benchmark.heads import classifier, head_parameters
from benchmark.policies import BatchNorm, Trainable


def _wanted(network: nn.Module, which: Trainable) -> set[str]:
    if which == "head":
        return set(head_parameters(network))
    everything = {name for name, _ in network.named_parameters()}
    return everything - early_half(network) if which == "later-half" else everything


def set_trainable(network: nn.Module, which: Trainable) -> list[nn.Parameter]:
    """Freeze everything, unfreeze what the stage trains, and return exactly that, in the network's order.

    Raises:
        UserError: half of the network is to be frozen, and no blocks are found in it (`benchmark.blocks`).
        RuntimeError: the trainable set is not the intended one (a parameter shared between head and backbone).
    """
    wanted = _wanted(network, which)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
        parameter.grad = None
    actual = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    if actual != wanted or not wanted:
        raise RuntimeError(f"trainable parameters are off by {sorted(actual ^ wanted)}")
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def set_modes(network: nn.Module, trainable: Trainable, batch_norm: BatchNorm) -> None:
    """Put every module into the mode that its stage asks for; call it at the start of each training epoch.

    The network and its head are in train mode. ``batch_norm="eval"`` puts the batch norms into eval mode (running
    statistics are used and stay as they are); a frozen backbone (``trainable="head"``) is then in eval mode as a
    whole, dropout and stochastic depth included. ``eval-where-frozen`` puts every module whose parameters are all
    frozen into eval mode, with what is inside it, and leaves the others in train mode.
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
        elif trainable == "head" or isinstance(module, nn.modules.batchnorm._NormBase):
            module.training = False
