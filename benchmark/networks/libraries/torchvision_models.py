"""torchvision's classifiers."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn

from benchmark.errors import UserError, did_you_mean
from benchmark.matrix.identify import check_named_digits
from benchmark.networks.libraries.interface import Architecture, State

SETTINGS: dict[str, dict[str, object]] = {
    "inception_v3": {"aux_logits": False, "transform_input": False, "init_weights": True},
    "googlenet": {"aux_logits": False, "transform_input": False, "init_weights": True},
}
"""Arguments of torchvision's builders."""

_AUXILIARY = {"inception_v3": ("AuxLogits.",), "googlenet": ("aux1.", "aux2.")}
_LEGACY_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")


class TorchvisionModel(Architecture):
    """``torchvision/NAME``, with torchvision's default weights, and the mean and std of their transforms.

    Inception v3 and GoogLeNet are built without auxiliary heads, so that training has one loss as for every other
    model, and without ``transform_input``. With it, the pretrained networks take images normalised with ImageNet's mean
    and std and convert each channel to (v - 0.5) / 0.5. Here images are normalised with 0.5 and 0.5, which gives the
    same values for three channels and the right ones for one.
    """

    def __init__(self, name: str) -> None:
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise UserError(f"torchvision has no classifier {name!r}.{did_you_mean(name, known)}")
        self.name = name
        self.title = f"torchvision/{name}"
        self._weights = torchvision.models.get_model_weights(name).DEFAULT
        transforms = self._weights.transforms()
        half = (0.5, 0.5, 0.5)
        self.mean, self.std = (half, half) if name in SETTINGS else (tuple(transforms.mean), tuple(transforms.std))
        self.native_side = transforms.crop_size[0]
        self.minimum_side = self._weights.meta["min_size"][0]
        self.auxiliary = _AUXILIARY.get(name, ())

    def create(self, classes: int, channels: int) -> nn.Module:
        with _image_channels(channels):
            network = self.published()
        return _with_a_new_last_layer(network, classes)

    def published(self) -> nn.Module:
        network: nn.Module = torchvision.models.get_model(self.name, weights=None, **SETTINGS.get(self.name, {}))
        return network

    def from_hub(self) -> tuple[State, str]:
        """Load the file at the weights' URL into torch's cache (``TORCH_HOME``), once.

        Its name contains the first digits of its SHA-256, which are checked at the download and at each use.
        """
        url = self._weights.url
        try:
            with redirect_stdout(sys.stderr):
                tensors = torch.hub.load_state_dict_from_url(
                    url, map_location="cpu", progress=False, check_hash=True, weights_only=True
                )
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"hub: the weights of {self.title} cannot be loaded from {url} ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}). Check the network, or run once on a machine with access to cache them."
            ) from error
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        check_named_digits(file, "Delete it.")
        network = self.published()
        own = {name: t for name, t in self.renamed(tensors).items() if not name.startswith(self.auxiliary)}
        network.load_state_dict(own, strict=True)
        return network.state_dict(), f"torchvision {self._weights}, {file.name}"

    def renamed(self, state: State) -> State:
        """Rename ``norm.1`` in DenseNet files to ``norm1``; names had dots before PyTorch 0.4."""
        if not self.name.startswith("densenet"):
            return state
        return {_LEGACY_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}


@contextmanager
def _image_channels(channels: int) -> Iterator[None]:
    """Build convolutions of three input channels with another number of channels.

    torchvision's builders have no argument for this. Only first convolutions have three input channels; building them
    with the right number lets the library's initialisation apply to that number.
    """
    original: Callable[..., None] = nn.Conv2d.__init__

    @wraps(original)
    def changed(self: nn.Conv2d, in_channels: int, *args: Any, **kwargs: Any) -> None:
        original(self, channels if in_channels == 3 else in_channels, *args, **kwargs)

    cast(Any, nn.Conv2d).__init__ = changed
    try:
        yield
    finally:
        cast(Any, nn.Conv2d).__init__ = original


def last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return the name and module of a torchvision classifier's last layer, which is registered last.

    It is a linear layer, or SqueezeNet's 1 x 1 convolution, whose outputs are averaged over the image.
    """
    return [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]


def _with_a_new_last_layer(network: nn.Module, classes: int) -> nn.Module:
    name, old = last_layer(network)
    biased = old.bias is not None
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=biased)
    else:
        new = nn.Conv2d(old.in_channels, classes, cast(Any, old.kernel_size), bias=biased)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
    return network
