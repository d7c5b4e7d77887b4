"""The networks that MedMNIST's paper trains on images of 28 pixels."""

from __future__ import annotations

import torchvision
from torch import nn

from benchmark.errors import UserError, did_you_mean
from benchmark.networks.libraries.interface import Architecture, State

_KNOWN = ("resnet18", "resnet50")


class MedmnistModel(Architecture):
    """``medmnist/resnet18`` and ``medmnist/resnet50``, which nobody publishes weights of; mean and std are 0.5.

    Source: Yang et al., "MedMNIST v2", Scientific Data 10:41 (2023), and the authors' code, MedMNIST/experiments,
    MedMNIST2D/models.py: ResNets with a stem of 3 x 3 at stride 1 and without its max-pooling, every layer in
    PyTorch's own initialisation. They are torchvision's ResNets (whose bottlenecks have the stride in the 3 x 3, too)
    with another stem and without torchvision's initialisation; tensors have torchvision's names.
    """

    def __init__(self, name: str) -> None:
        if name not in _KNOWN:
            raise UserError(f"MedMNIST's paper has no network {name!r} of its own.{did_you_mean(name, _KNOWN)}")
        self.name = name
        self.title = f"medmnist/{name}"
        self.mean, self.std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        self.native_side = 28
        self.minimum_side = 1

    def create(self, classes: int, channels: int) -> nn.Module:
        network: nn.Module = torchvision.models.get_model(self.name, weights=None, num_classes=classes)
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        return network

    def published(self) -> nn.Module:
        """Return a network of two classes: the paper's have as many as each of its datasets."""
        return self.create(classes=2, channels=3)

    def from_hub(self) -> tuple[State, str]:
        raise UserError(f"hub: {self.title} has no pretrained weights. Train it from random ones: policy scratch.")
