"""The networks that the MedMNIST paper trains on images of 28 x 28 pixels."""

from __future__ import annotations

import torchvision
from torch import nn

from benchmark.errors import UserError, did_you_mean
from benchmark.networks.libraries.interface import Architecture, State

_KNOWN = ("resnet18", "resnet50")


class MedmnistModel(Architecture):
    """``medmnist/resnet18`` and ``medmnist/resnet50``, without published weights; mean and std are 0.5.

    Source: Yang et al., "MedMNIST v2", Scientific Data 10:41 (2023), and the authors' code, MedMNIST/experiments,
    MedMNIST2D/models.py: ResNets with a 3 x 3 stem of stride 1, no max-pooling after it, and PyTorch's default
    initialisation of every layer. They are torchvision's ResNets (whose bottlenecks also have the stride in the 3 x 3
    convolution) with another stem and without torchvision's initialisation; tensors have torchvision's names.
    """

    def __init__(self, name: str) -> None:
        if name not in _KNOWN:
            raise UserError(f"the MedMNIST paper has no network {name!r}.{did_you_mean(name, _KNOWN)}")
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
        """Return a network with two classes; in the paper the number depends on the dataset."""
        return self.create(classes=2, channels=3)

    def from_hub(self) -> tuple[State, str]:
        raise UserError(f"hub: {self.title} has no pretrained weights. Train it from scratch with the policy scratch.")
