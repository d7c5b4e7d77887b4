"""The stem: the convolutions applied to the image, found by shape and adapted to the mode's channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.errors import UserError
from benchmark.matrix.input_modes import InputMode, Stem, Triple, average
from benchmark.networks.first_half import PREFIX
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import Architecture, State

_PROBE_SIDE = 32
_TOLERANCE = 1e-4
"""Largest relative difference of sums of the same products in another order."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601's weights of red, green and blue."""


def adapt_stem(weight: Tensor, how: Stem, mean: Triple, std: Triple) -> Tensor:
    """Adapt the weights of a pretrained three-channel first convolution to the input mode.

    ``keep``: unchanged. ``sum``: W1 = W_r + W_g + W_b; its output for a grey image g equals the three-channel output
    for (g, g, g). ``mean``: a third of that. ``fold``: W1 = sum over c of (s / s_c) W_c, see `folded_shift`. ``red``:
    W_r. ``luma``: the channels weighted by `LUMA`. Summed in float64, returned in the weight's type.

    Args:
        weight: float, shape (out, 3, kernel height, kernel width).
        how: one of the above, not a random stem.
        mean: three means of the pretrained weights.
        std: their three standard deviations.

    Returns:
        Shape (out, 3, kh, kw) for ``keep``, (out, 1, kh, kw) for the others.
    """
    if how == "keep":
        return weight
    factors = {"fold": [average(std) / s for s in std], "red": (1.0, 0.0, 0.0), "luma": LUMA}.get(how, (1.0, 1.0, 1.0))
    wide = weight.double() * torch.tensor(factors, dtype=torch.float64).view(1, 3, 1, 1)
    total = wide.sum(dim=1, keepdim=True)
    return (total / 3 if how == "mean" else total).to(weight.dtype)


def folded_shift(weight: Tensor, mean: Triple, std: Triple) -> Tensor:
    """Return the shift of the bias under ``fold``: sum over c of (m - m_c) / s_c sum_k W_c[k], k over the kernel.

    With x = (g - m) / s, and so g = s x + m, the three-channel stem's output for a grey image is

        sum_c W_c * (g - m_c) / s_c  =  (sum_c (s / s_c) W_c) * x  +  sum_c (m - m_c) / s_c sum_k W_c[k]

    The second term is constant wherever the complete kernel is inside the image; there, one channel with this bias is
    exact up to rounding. At a zero-padded border it is not: padding is added *after* normalisation, so the padded part
    of the kernel does not contribute to the second term, while the bias is the same everywhere. The difference is the
    shift of the part of the kernel outside the image. Without padding (patch embeddings, SqueezeNet, Inception v3)
    there is no such part. With equal means the shift is zero.

    Args:
        weight: float, shape (out, 3, kernel height, kernel width).
        mean: three means of the pretrained weights.
        std: their three standard deviations.

    Returns:
        Shape (out,), in the weight's type.
    """
    shift = torch.tensor([(average(mean) - m) / s for m, s in zip(mean, std, strict=True)], dtype=torch.float64)
    return (weight.double().sum(dim=(2, 3)) @ shift).to(weight.dtype)


def find_stem(network: nn.Module, state: State, head: set[str], mode: InputMode, title: str) -> list[str]:
    """Return the names of the convolutions whose weights must be adapted to one channel.

    The list is empty for a mode with three channels, and for a checkpoint with one channel, which ``grey-1ch`` uses
    unchanged.

    The convolutions are found by shape: outside the head, only their tensors may differ from the checkpoint's,
    (out, 1, kh, kw) against (out, 3, kh, kw). Some models have several (CrossViT's scales, FastViT's branches).

    Raises:
        UserError: a tensor is missing or has another shape, or there is no three-channel first convolution to adapt.
    """
    own = network.state_dict()
    missing = sorted(set(own) - head - set(state))
    if missing:
        raise UserError(f"{title}: the checkpoint lacks {len(missing)} tensors, e.g. {missing[0]}.")
    different = [name for name in own if name not in head and state[name].shape != own[name].shape]
    second = [name for name in different if own[name].shape[1:] == state[name].shape[1:]]
    if second:
        raise UserError(
            f"{title}: {second[0]}, which is not in the head, has {len(own[second[0]])} classes here and "
            f"{len(state[second[0]])} in the checkpoint: networks with a second head are not supported."
        )
    if mode.channels == 3:
        if different:
            name = different[0]
            raise UserError(
                f"{title}: {mode.name}: the checkpoint's {name} has another shape, {tuple(state[name].shape)} "
                f"instead of {tuple(own[name].shape)}."
            )
        return []
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    convolutions = {f"{name}.weight": name for name in layers}
    if not different and [layer.in_channels for layer in layers.values()][:1] == [1]:  # the checkpoint has one channel
        if mode.stem == "sum":
            return []
        raise UserError(f"{title}: {mode.name} adapts a three-channel stem; these weights have one. Use grey-1ch.")
    strange = [n for n in different if n not in convolutions or own[n].shape[1] != 1 or state[n].shape[1] != 3]
    if strange or not different:
        shapes = [f"{name} {tuple(state[name].shape)}" for name in strange]
        raise UserError(
            f"{title}: {mode.name} needs a three-channel first convolution to adapt; "
            f"this model has {', '.join(shapes) or 'none'}."
        )
    return [convolutions[name] for name in different]


def load_stem(network: nn.Module, names: list[str], state: State, how: Stem, known: Architecture) -> None:
    """Set the stem of a one-channel network from a three-channel checkpoint, in place.

    ``random`` does not change it. ``scaled-random`` scales each random filter to the norm of the filter that ``sum``
    gives, and copies the checkpoint's bias. ``fold`` adds a bias to a convolution without one, unless the means are
    equal and the shift is zero.

    Args:
        network: with one input channel.
        names: its stem, from `find_stem`.
        state: the checkpoint.
        how: adaptation of the mode.
        known: architecture, for mean and std of the pretrained weights.

    Raises:
        UserError: the convolution is not linear in its weights (weight standardisation), so that a sum of weights does
            not give the sum of outputs; or it ignores the bias that ``fold`` adds.
    """
    if how == "random":
        return
    mean, std = known.mean, known.std
    for name in names:
        layer = network.get_submodule(name)
        if not isinstance(layer, nn.Conv2d):
            raise TypeError(f"{name} is not a convolution")
        source = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias")
        title = f"{known.title}: {name} ({type(layer).__name__})"
        _refuse_unless_linear(layer, source, title)
        with torch.no_grad():
            if how == "scaled-random":
                layer.weight *= _norms(adapt_stem(source, "sum", mean, std)) / _norms(layer.weight)
            else:
                layer.weight.copy_(adapt_stem(source, how, mean, std))
            if bias is not None and layer.bias is not None:
                layer.bias.copy_(bias)
            if how == "fold" and len(set(mean)) > 1:
                shift = folded_shift(source, mean, std)
                if layer.bias is None:
                    layer.bias = nn.Parameter(torch.zeros_like(shift))
                layer.bias += shift
                _refuse_unless_biased(layer, layer.bias, title)


def _norms(weight: Tensor) -> Tensor:
    """Return the Euclidean norm of each filter, shape (out, 1, 1, 1)."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
    return norms


def verify_stem(network: nn.Module, names: list[str], state: State, how: Stem, known: Architecture) -> None:
    """Check a loaded stem against the checkpoint, by computing it in another way.

    Raises:
        AssertionError: the stem is wrong.
    """
    if how == "random":
        return
    mean, std = known.mean, known.std
    factors = torch.tensor([average(std) / s if how == "fold" else 1.0 for s in std]) / (3 if how == "mean" else 1)
    factors = {"red": torch.eye(3)[0], "luma": torch.tensor(LUMA)}.get(how, factors)
    shift = torch.tensor([(average(mean) - m) / s if how == "fold" else 0.0 for m, s in zip(mean, std, strict=True)])
    for name in names:
        layer, source = network.get_submodule(name), state[f"{name}.weight"]
        expected = torch.einsum("ocij,c->oij", source, factors)[:, None]
        found: Tensor = layer.get_parameter("weight")
        if how == "scaled-random":
            found, expected = (each.double().square().sum(dim=(1, 2, 3)).sqrt() for each in (found, expected))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        if layer.bias is not None:
            moved = torch.einsum("ocij,c->o", source, shift) + state.get(f"{name}.bias", torch.zeros(len(source)))
            torch.testing.assert_close(layer.bias, moved, rtol=1e-4, atol=1e-5)


def stem_weights(network: nn.Module, model: str) -> set[str]:
    """Return the names of the stem's weights, the parameters whose shape depends on the image's channels.

    Almost every network has one. The bias of a convolution does not count. They are found by building the model for one
    channel and for three on the device ``meta``, which needs no memory.

    Args:
        network: network of this model, or its first half.
        model: as for `benchmark.networks.libraries.find.find_architecture`.

    Raises:
        UserError: the model has no such weights, because another operation is applied to the image first.
    """
    known = find_architecture(model)
    with torch.device("meta"):
        one, three = (known.create(2, channels).state_dict() for channels in (1, 3))
    following = {name for name in one if one[name].shape != three[name].shape}
    if not following:
        raise UserError(f"{known.title} does not start with a convolution. Leave out stem_lr_factor.")
    return {name for name, _ in network.named_parameters() if name.removeprefix(PREFIX) in following}


def _probe(layer: nn.Conv2d) -> Tensor:
    side = max(_PROBE_SIDE, *layer.kernel_size)
    return torch.rand(1, layer.in_channels, side, side, generator=torch.Generator().manual_seed(0))


def _refuse_unless_linear(layer: nn.Conv2d, source: Tensor, title: str) -> None:
    """Check that the sum of the three channels' weights gives the sum of the three outputs."""
    image = _probe(layer)

    def output(weight: Tensor) -> Tensor:
        with torch.no_grad():
            made: Tensor = functional_call(layer, {"weight": weight}, image)
        return made

    nothing = output(torch.zeros_like(layer.weight))
    parts = [output(source[:, c : c + 1]) - nothing for c in range(3)]
    total = output(source.sum(dim=1, keepdim=True)) - nothing
    gap = (total - parts[0] - parts[1] - parts[2]).abs().max()
    if not gap <= _TOLERANCE * max(part.abs().max() for part in (total, *parts)):
        raise UserError(
            f"{title} is not linear in its weights (weight standardisation), so summed weights would give another "
            "function. Use grey-3ch or grey-3ch-shared-norm."
        )


def _refuse_unless_biased(layer: nn.Conv2d, bias: Tensor, title: str) -> None:
    image = _probe(layer)
    with torch.no_grad():
        moved = layer(image) - functional_call(layer, {"bias": torch.zeros_like(bias)}, image)
    if not torch.allclose(moved, bias.detach().view(1, -1, 1, 1).expand_as(moved), atol=1e-4):
        raise UserError(f"{title} ignores the bias that grey-1ch-folded adds. Use another input mode.")
