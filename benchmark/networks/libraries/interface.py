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
        std: their three standard deviations.
        minimum_side: pixels per side that the network needs according to the library; 1 if it says nothing.
        native_side: pixels per side of the images that the weights were trained on.
        auxiliary: prefixes of tensors of heads that the library uses in training only: checkpoints may have them,
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
        """Look a name up.

        Raises:
            UserError: the library has no such model.
        """

    @abstractmethod
    def create(self, classes: int, channels: int) -> nn.Module:
        """Return a network with random weights and a new head, in the library's own initialisation.

        The head is the last layer alone, in PyTorch's own initialisation of a linear layer or convolution.

        Args:
            classes: outputs of the head.
            channels: of the first convolution, which is initialised for this number.
        """

    @abstractmethod
    def published(self) -> nn.Module:
        """Return a network as the library publishes it, three channels and its own classes, with random weights."""

    @abstractmethod
    def from_hub(self) -> tuple[State, str]:
        """Return the library's own pretrained weights under the names of `published`, and their origin in words.

        Raises:
            UserError: they cannot be loaded.
        """

    def renamed(self, state: State) -> State:
        """Return a checkpoint with names of older files of this library replaced by today's."""
        return state
