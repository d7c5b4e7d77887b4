"""The first half of a network of timm's, under a linear classifier of its own."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from benchmark.networks.initialisation import seeded_build

PREFIX = "backbone."
"""Of the names of the library's own tensors."""


class FirstHalf(nn.Module):
    """A linear classifier on the activations at half of a network's blocks, averaged over the image.

    Takes float32 (n, channels, h, w), gives logits (n, classes).

    Args:
        backbone: a complete network with ``forward_intermediates``; what is behind its first half is taken out.
        classes: outputs of the classifier, whose values are drawn from (seed, tensor name).
        seed: the run's.
    """

    def __init__(self, backbone: nn.Module, classes: int, seed: int) -> None:
        super().__init__()
        self._block, channels = _middle(backbone)
        cast(Any, backbone).prune_intermediate_layers([self._block], prune_norm=True)
        self.backbone = backbone
        drawn = seeded_build(lambda: nn.ModuleDict({"head": nn.Linear(channels, classes)}), seed)
        self.head = drawn.get_submodule("head")

    def get_classifier(self) -> nn.Module:
        """Return the head, by the name that timm's networks have for this."""
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        (activations,) = cast(Any, self.backbone).forward_intermediates(
            images, indices=[self._block], stop_early=True, intermediates_only=True
        )
        logits: Tensor = self.head(activations.mean(dim=(2, 3)))
        return logits


def _middle(network: nn.Module) -> tuple[int, int]:
    """Return the position of the block at half of timm's feature blocks, from 0, and the channels that it gives.

    Feature blocks are what ``forward_intermediates`` returns: a ResNet's stem and four stages, five stages of an
    EfficientNet, every encoder block of a ViT. Of an even number n it is the block n / 2, of an odd one the middle:
    behind a ResNet's second stage of four, an EfficientNet's third of five, six blocks of a ViT's twelve.
    """
    blocks: Any = network.feature_info
    middle = (len(blocks) - 1) // 2
    return middle, int(blocks[middle]["num_chs"])
