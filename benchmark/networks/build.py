"""Building a network by name, with its first convolution adapted to the input mode and a new head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.matrix.input_modes import InputMode, Triple, needs_pretrained_stem
from benchmark.matrix.policies import Backbone
from benchmark.networks import weights
from benchmark.networks.first_half import FirstHalf
from benchmark.networks.heads import HeadInit, head_parameters, initialise_head
from benchmark.networks.initialisation import seeded_build
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import Architecture
from benchmark.networks.stems import find_stem, load_stem, verify_stem


@dataclass(frozen=True)
class BuiltModel:
    """A network ready for its first stage.

    Attributes:
        network: takes float32 (n, ``input_channels``, h, w), gives logits (n, classes).
        mean, std: per input channel, on the 0..1 pixel scale.
        weights_origin: source of the weights, in words.
        weights_sha256: hash of the three-channel checkpoint, or None for random weights.
        pretrained_mean, pretrained_std: three values each, of the pretrained weights, in every mode.
        stem: name of the convolution that is executed first, or None if the network has none.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_origin: str
    weights_sha256: str | None
    pretrained_mean: Triple
    pretrained_std: Triple
    stem: str | None

    @property
    def input_channels(self) -> int:
        """Channels of the first convolution."""
        return len(self.mean)


def check_forward(network: nn.Module, channels: int, side: int, classes: int, title: str) -> str | None:
    """Run a network in eval mode on one noise image.

    Args:
        network: on the CPU; left in train mode.
        channels: number of input channels.
        side: pixels per side.
        classes: expected number of outputs.
        title: name of the model, for messages.

    Returns:
        The name of the convolution that was executed first, or None if there was none.

    Raises:
        UserError: the network does not take such an image, or does not return one finite number per class.
    """
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda module, inputs: order.append(name)

    hooks = [m.register_forward_pre_hook(note(n)) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            logits = network(torch.randn(1, channels, side, side))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a library's network may raise anything
        raise UserError(
            f"{title} does not take images of {side} x {side} pixels and {channels} channels "
            f"({type(error).__name__}: {error})."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        network.train()
    if not isinstance(logits, torch.Tensor) or logits.shape != (1, classes) or not logits.isfinite().all():
        shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UserError(f"{title} returns {shape} for one image, not {classes} finite numbers.")
    return order[0] if order else None


def load_pretrained(
    network: nn.Module, checkpoint: weights.PretrainedWeights, mode: InputMode, known: Architecture
) -> None:
    """Copy a three-channel checkpoint into a network with the mode's channels, in place; the head is not changed.

    The result is checked: every tensor outside head and stem must equal the checkpoint's, and the stem must equal the
    mode's formula.

    Raises:
        UserError: a tensor is missing or has another shape, or the stem cannot be adapted.
    """
    head = set(head_parameters(network))
    stem = find_stem(network, checkpoint.state, head, mode, known.title)
    adapted = {f"{name}.{kind}" for name in stem for kind in ("weight", "bias")}
    own = network.state_dict()
    kept = {name: own[name] if name in head or name in adapted else checkpoint.state[name] for name in own}
    network.load_state_dict(kept, strict=True)
    load_stem(network, stem, checkpoint.state, mode.stem, known)
    for name, tensor in network.state_dict().items():
        if name not in head and name not in adapted and not torch.equal(tensor, checkpoint.state[name]):
            raise RuntimeError(f"{name} differs from the checkpoint after loading")
    verify_stem(network, stem, checkpoint.state, mode.stem, known)


def build(
    model: str,
    mode: InputMode,
    *,
    classes: int,
    source: str,
    seed: int,
    backbone: Backbone = "complete",
    head_init: HeadInit = "default",
    image_size: int | None = None,
) -> BuiltModel:
    """Build a network for an input mode.

    The head, and with source ``none`` every tensor, is drawn from (seed, tensor name). Unless ``head_init`` says
    otherwise, the head has PyTorch's default initialisation, uniform within 1 / sqrt(inputs), like any replaced head.
    (timm initialises the head of a complete EfficientNet within 1 / sqrt(classes), which suits a thousand classes: with
    two, the first loss is 6 instead of 0.7.) Other random tensors follow the library's scheme; the stem of a random
    network is initialised for its number of channels. Normalisation always follows the model's pretrained
    configuration.

    Args:
        model: as for `benchmark.networks.libraries.find.find_architecture`.
        mode: input mode, for the channels and the adaptation of the stem.
        classes: outputs of the head.
        source: source of the pretrained weights, see `benchmark.networks.weights.load`, or ``none`` for random weights.
        seed: seed of the run.
        backbone: part of the network before the head, see `benchmark.networks.first_half`.
        head_init: see `benchmark.networks.heads.initialise_head`.
        image_size: pixels per side of the images (one is tried), or None for the size the weights were trained on.

    Raises:
        UserError: the model is unknown, its weights are missing, its first convolution cannot be adapted, its head
            cannot be initialised in this way, it cannot be halved, or it does not take these images.
    """
    known = find_architecture(model)
    side = known.native_side if image_size is None else image_size
    if side < known.minimum_side:
        raise UserError(
            f"{known.title} needs images of at least {known.minimum_side} pixels per side; these have {side}. "
            "Increase training.image_size."
        )
    if source == "none" and needs_pretrained_stem(mode.name):
        raise UserError(f"{mode.name} adapts a pretrained stem; these weights are random. Do not use it with scratch.")
    try:
        network = seeded_build(lambda: known.create(classes, mode.channels), seed)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # a library's builder may raise anything
        raise UserError(
            f"{known.title} cannot be built for {mode.channels} channels and {classes} classes "
            f"({type(error).__name__}: {error})."
        ) from error
    if backbone == "first-half" and not hasattr(network, "forward_intermediates"):
        raise UserError(
            f"{known.title} has no forward_intermediates, timm's access to activations of blocks, so its first half "
            "cannot be used. Leave out truncate and other policies with backbone: first-half, or use a timm model."
        )
    mean, std = mode.normalisation(known.mean, known.std)
    checkpoint = None if source == "none" else weights.load(model, source)
    if checkpoint is not None:
        load_pretrained(network, checkpoint, mode, known)
    if backbone == "first-half":
        network = FirstHalf(network, classes, seed)
    initialise_head(network, head_init, seed=seed, pretrained=None if checkpoint is None else checkpoint.state)
    stem = check_forward(network, mode.channels, side, classes, known.title)
    return BuiltModel(
        network,
        mean,
        std,
        weights_origin="random" if checkpoint is None else checkpoint.origin,
        weights_sha256=None if checkpoint is None else checkpoint.sha256,
        pretrained_mean=known.mean,
        pretrained_std=known.std,
        stem=stem,
    )
