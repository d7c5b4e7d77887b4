"""The first half of a timm network with a linear classifier on top."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from benchmark.networks.initialisation import seeded_build

PREFIX = "backbone."
"""Prefix of the names of the library's tensors."""


class FirstHalf(nn.Module):
    """A linear classifier on the activations after half of a network's blocks, averaged over the image.

    Takes float32 (n, channels, h, w), gives logits (n, classes).

    Args:
        backbone: complete network with ``forward_intermediates``; everything after its first half is removed.
        classes: outputs of the classifier, which is drawn from (seed, tensor name).
        seed: seed of the run.
    """

    def __init__(self, backbone: nn.Module, classes: int, seed: int) -> None:
        super().__init__()
        self._block, channels = _middle(backbone)
        cast(Any, backbone).prune_intermediate_layers([self._block], prune_norm=True)
        self.backbone = backbone
        drawn = seeded_build(lambda: nn.ModuleDict({"head": nn.Linear(channels, classes)}), seed)
        self.head = drawn.get_submodule("head")

    def get_classifier(self) -> nn.Module:
        """Return the head; timm networks have a method of this name."""
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        (activations,) = cast(Any, self.backbone).forward_intermediates(
            images, indices=[self._block], stop_early=True, intermediates_only=True
        )
        logits: Tensor = self.head(activations.mean(dim=(2, 3)))
        return logits


def _middle(network: nn.Module) -> tuple[int, int]:
    """Return the index (from 0) of the middle one of timm's feature blocks, and its number of output channels.

    Feature blocks are those returned by ``forward_intermediates``: a ResNet's stem and four stages, five stages of an
    EfficientNet, every encoder block of a ViT. Of an even number n, block n / 2 is the middle. It is the second of a
    ResNet's four stages, the third of an EfficientNet's five, the sixth of a ViT's twelve blocks.
    """
    blocks: Any = network.feature_info
    middle = (len(blocks) - 1) // 2
    return middle, int(blocks[middle]["num_chs"])
