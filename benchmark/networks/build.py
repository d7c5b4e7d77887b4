"""A network by name, with its first convolution adapted to the input mode and a new head for the classes."""

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
        weights_origin: in words.
        weights_sha256: of the three-channel checkpoint, or None for random weights.
        pretrained_mean, pretrained_std: three of each, of the pretrained weights in every mode.
        stem: name of the convolution that is executed first, or None if a network has none.
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
    """Send one image of noise through a network in eval mode.

    Args:
        network: on the CPU; left in train mode.
        channels: of the mode.
        side: pixels per side.
        classes: outputs expected.
        title: the model's, for messages.

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
    """Copy a three-channel checkpoint into a network of the mode's channels, in place; the head keeps its own values.

    Afterwards everything outside head and stem is compared with the checkpoint, tensor by tensor, and the stem with
    the mode's formula.

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
            raise RuntimeError(f"{name} is not the checkpoint's after loading")
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

    The head, and with ``none`` every tensor, is drawn from (seed, tensor name). The head is one layer in PyTorch's own
    initialisation, uniform within 1 / sqrt(inputs), as in any replaced head, unless ``head_init`` says otherwise.
    (timm's initialisation of a complete EfficientNet scales the head by 1 / sqrt(classes), meant for a thousand of
    them: with two classes the first loss is 6 instead of 0.7.) Other random tensors follow the library's own scheme;
    scratch stems are initialised for their own number of channels. Normalisation follows the model's pretrained
    configuration in every case.

    Args:
        model: as for `benchmark.networks.libraries.find.find_architecture`.
        mode: gives the channels and the stem's adaptation.
        classes: outputs of the head.
        source: of the pretrained weights, see `benchmark.networks.weights.load`, or ``none`` for random ones.
        seed: the run's.
        backbone: the part of the network that is kept in front of the head, see `benchmark.networks.first_half`.
        head_init: see `benchmark.networks.heads.initialise_head`.
        image_size: pixels per side of the images, one of which is tried, or None for the weights' own.

    Raises:
        UserError: unknown model, missing weights, a first convolution that cannot be adapted, a head that
            cannot be initialised so, a network that cannot be halved, or images that the network does not take.
    """
    known = find_architecture(model)
    side = known.native_side if image_size is None else image_size
    if side < known.minimum_side:
        raise UserError(
            f"{known.title} needs images of {known.minimum_side} pixels per side or more; these have {side}. "
            "Raise training.image_size."
        )
    if source == "none" and needs_pretrained_stem(mode.name):
        raise UserError(f"{mode.name} changes a pretrained stem; random weights have none. Leave it out of scratch.")
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
            f"{known.title} has no forward_intermediates, timm's way to the activations of its blocks, and so no first "
            "half. Leave out the policy truncate and others with backbone: first-half, or take a model of timm."
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
