"""Networks: built by name, the first convolution adapted to the input mode, a new head for the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import timm
import torch
from torch import nn

from benchmark import weights
from benchmark.errors import UserError, did_you_mean
from benchmark.initialisation import seeded_build
from benchmark.inputs import InputMode


@dataclass(frozen=True)
class BuiltModel:
    """A network ready for its first stage.

    Attributes:
        network: takes float32 (n, ``input_channels``, h, w), gives logits (n, classes).
        mean: per input channel, on the 0..1 pixel scale.
        std: likewise.
        weights_origin: in words.
        weights_sha256: of the three-channel checkpoint; None for random weights.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_origin: str
    weights_sha256: str | None

    @property
    def input_channels(self) -> int:
        """Channels of the first convolution."""
        return len(self.mean)


def check_name(model: str) -> str:
    """Return timm's name of ``timm/NAME[.TAG]``.

    Raises:
        UserError: timm has no such model.
    """
    name = model.partition("/")[2]
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        raise UserError(f"timm has no model {architecture!r}.{did_you_mean(architecture, known)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise UserError(f"timm/{architecture} has no weights tagged {tag!r}.{did_you_mean(tag, tags)}")
    return name


def classifier(network: nn.Module) -> nn.Module:
    """Return the network's classifier.

    Raises:
        UserError: it is not one module with parameters.
    """
    module = cast(Any, network).get_classifier()
    if not isinstance(module, nn.Module) or not any(True for _ in module.parameters()):
        raise UserError(f"{type(network).__name__} has no single classifier module; it cannot be given a new head.")
    return module


def head_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the classifier's parameters under their names in the network."""
    own = {id(parameter) for parameter in classifier(network).parameters()}
    return {name: parameter for name, parameter in network.named_parameters() if id(parameter) in own}


def adapt_stem(weight: torch.Tensor, how: Literal["keep", "sum"]) -> torch.Tensor:
    """Turn a pretrained three-channel first convolution into the input mode's.

    ``keep``: unchanged. ``sum``: W1 = W_r + W_g + W_b, the convolution that answers a grey image g exactly as the
    three-channel one answers (g, g, g); summed in float64, returned in the weight's own type.

    Args:
        weight: float, shape (out, 3, kernel height, kernel width).
        how: see above.

    Returns:
        Shape (out, 3, kh, kw) for ``keep``, (out, 1, kh, kw) for ``sum``.
    """
    if how == "keep":
        return weight
    return weight.double().sum(dim=1, keepdim=True).to(weight.dtype)


def _resized(state: weights.State, network: nn.Module, skip: Iterable[str]) -> list[str]:
    own = network.state_dict()
    return [name for name in own if name not in skip and name in state and state[name].shape != own[name].shape]


def load_pretrained(network: nn.Module, checkpoint: weights.Checkpoint, mode: InputMode, title: str) -> None:
    """Copy a three-channel checkpoint into a network of the mode's channels, in place; the head keeps its own values.

    The first convolution is found by shape: of the tensors outside the head it is the only one that may differ from
    the checkpoint's, (out, 1, kh, kw) against (out, 3, kh, kw).

    Raises:
        UserError: a tensor is missing, or anything but one first convolution differs in shape.
    """
    head = head_parameters(network)
    own = network.state_dict()
    missing = sorted(set(own) - set(head) - set(checkpoint.state))
    if missing:
        raise UserError(
            f"{title}: the checkpoint lacks {len(missing)} tensors, e.g. {missing[0]} ({checkpoint.origin})."
        )
    different = _resized(checkpoint.state, network, head)
    if mode.channels == 1:
        stem = different[0] if len(different) == 1 else None
        if stem is None or checkpoint.state[stem].dim() != 4 or checkpoint.state[stem].shape[1] != 3:
            raise UserError(
                f"{title}: {mode.name} needs exactly one three-channel first convolution to adapt; "
                f"this model has {different or 'none'}."
            )
        different = []
    else:
        stem = None
    if different:
        raise UserError(f"{title}: the checkpoint's {different[0]} has another shape ({checkpoint.origin}).")
    new = {}
    for name, value in own.items():
        if name in head:
            new[name] = value
        elif name == stem:
            new[name] = adapt_stem(checkpoint.state[name], mode.stem)
        else:
            new[name] = checkpoint.state[name]
    network.load_state_dict(new, strict=True)
    _verify(network, checkpoint, set(head), stem)


def _verify(network: nn.Module, checkpoint: weights.Checkpoint, head: set[str], stem: str | None) -> None:
    for name, tensor in network.state_dict().items():
        if name in head:
            continue
        source = checkpoint.state[name]
        if name == stem:
            torch.testing.assert_close(tensor, source.sum(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)
        elif not torch.equal(tensor, source):
            raise RuntimeError(f"{name} is not the checkpoint's after loading")


def _with_a_new_head(name: str, classes: int, channels: int) -> nn.Module:
    network: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels)
    cast(Any, network).reset_classifier(classes)
    return network


def build(
    model: str, mode: InputMode, *, classes: int, source: Literal["hub", "pypi", "none"], seed: int
) -> BuiltModel:
    """Build a network for an input mode.

    The head, and with ``none`` every tensor, is drawn from (seed, tensor name). The head is the one that timm's
    ``reset_classifier`` makes, PyTorch's own initialisation of a linear layer, uniform within 1 / sqrt(inputs), as in
    any replaced head. (timm's initialisation of a whole EfficientNet scales the head by 1 / sqrt(classes), meant for a
    thousand of them: with two classes the first loss is 6 instead of 0.7.) Other random tensors follow the library's
    own scheme; scratch stems are initialised for their own number of channels. Normalisation follows the model's
    pretrained configuration in every case.

    Args:
        model: ``timm/NAME[.TAG]``.
        mode: gives the channels and the stem's adaptation.
        classes: outputs of the head.
        source: where the pretrained weights come from; ``none``: random ones.
        seed: the run's.

    Raises:
        UserError: unknown model, weights that cannot be had, or a first convolution that cannot be adapted.
    """
    name = check_name(model)
    network = seeded_build(lambda: _with_a_new_head(name, classes, mode.channels), seed)
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise UserError(f"{model} has no pretrained configuration, so no mean and std to normalise with.")
    mean, std = mode.normalisation(tuple(config.mean), tuple(config.std))
    if source == "none":
        return BuiltModel(network, mean, std, "random", None)
    checkpoint = weights.load(name, source)
    load_pretrained(network, checkpoint, mode, model)
    return BuiltModel(network, mean, std, checkpoint.origin, checkpoint.sha256)
