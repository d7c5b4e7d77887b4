"""Interface to a library's classifiers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

State = Mapping[str, torch.Tensor]


class Architecture(ABC):
    """One architecture of a library, with the settings of its pretrained weights.

    Attributes:
        title: ``LIBRARY/NAME``, as in a matrix.
        mean: three means that the pretrained weights were trained with, on the 0..1 pixel scale.
        std: three standard deviations, likewise.
        minimum_side: smallest image side in pixels according to the library, or 1.
        native_side: side in pixels of the images that the weights were trained on.
        auxiliary: prefixes of the tensors of heads that the library uses only in training; checkpoints may have them,
            the network does not.
    """

    title: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum_side: int
    native_side: int
    auxiliary: tuple[str, ...] = ()

    @abstractmethod
    def __init__(self, name: str) -> None:
        """Look up a name.

        Raises:
            UserError: the library has no such model.
        """

    @abstractmethod
    def create(self, classes: int, channels: int) -> nn.Module:
        """Return a network with random weights and a new head, in the library's initialisation.

        The head is only the last layer, in PyTorch's initialisation of a linear layer or convolution.

        Args:
            classes: outputs of the head.
            channels: input channels of the first convolution, which is initialised for this number.
        """

    @abstractmethod
    def published(self) -> nn.Module:
        """Return the network as published by the library, with three channels and its classes, but random weights."""

    @abstractmethod
    def from_hub(self) -> tuple[State, str]:
        """Return the library's pretrained weights with the tensor names of `published`, and their origin in words.

        Raises:
            UserError: they cannot be loaded.
        """

    def renamed(self, state: State) -> State:
        """Return a checkpoint with tensor names of older library versions replaced by current ones."""
        return state
