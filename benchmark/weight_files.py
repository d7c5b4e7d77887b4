"""A user's own file of weights: read without unpickling anything, and checked against the model's tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmark.architectures.interface import Architecture, State
from benchmark.errors import UserError
from benchmark.heads import head_parameters, is_headless
from benchmark.matrix import CONTENT, FILE

NESTED = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts commonly save a network's tensors; the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.")
"""Put in front of every name by DataParallel and by torch.compile."""

_PICKLED = (".pth", ".pt", ".bin")
_SHOWN = 3


def load(source: str, known: Architecture) -> tuple[State, str]:
    """Read a checkpoint of three channels.

    ``.safetensors``, or ``.pth``, ``.pt`` and ``.bin`` read with PyTorch's ``weights_only``: tensors and plain
    containers; nothing else is ever unpickled. Tensors nested under one of `NESTED`, and `PREFIXES` on every name, are
    accepted. Halves become float32, which is exact. The head may be missing or have any number of classes; the
    library's auxiliary heads are left out; batch norms' ``num_batches_tracked`` may be missing (files from before
    PyTorch 0.4.1) and is then 0.

    Args:
        source: ``file:PATH`` or ``file:PATH#sha256=HASH``.
        known: whose tensors the file must hold.

    Returns:
        The tensors under the library's names, and where they come from, in words (the file's name, not its folder).

    Raises:
        UserError: no such file, not such a file, another content than the hash promises, or other tensors.
    """
    text, _, promised = source.removeprefix(FILE).partition(CONTENT)
    path = Path(text).expanduser()
    if not path.is_file():
        raise UserError(f"weights: {path} is not a file.")
    if promised:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if actual != promised:
            raise UserError(f"weights: {path} has changed: its SHA-256 is {actual}, not {promised}.")
    state = _complete(path, known.renamed(_tensors(path)), known)
    return state, f"file {path.name}"


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        try:
            content: Any = load_file(path)
        except SafetensorError as error:
            raise UserError(f"weights: {path} is not a safetensors file ({error}).") from error
    elif path.suffix in _PICKLED:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # other bytes than torch.save's make an unpickler raise anything, IndexError too
            raise UserError(
                f"weights: {path} cannot be read as tensors alone, and nothing else is unpickled. "
                "Save the network's state_dict by itself, best as .safetensors."
            ) from error
    else:
        raise UserError(f"weights: {path}: write a file that ends in .safetensors, {', '.join(_PICKLED)}.")
    where = str(path)
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content, where = content[key], f"{path}, key {key!r}"
            break
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"weights: {where} holds no tensors by name.")
    strange = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise UserError(
            f"weights: {where} holds {_listed(strange)} beside tensors. Save the network's state_dict by itself, or "
            f"under one of {', '.join(NESTED)}."
        )
    state = {str(name): _in_single_precision(tensor) for name, tensor in content.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _in_single_precision(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _complete(path: Path, state: State, known: Architecture) -> State:
    """Return the state without auxiliary heads and with missing counters; refuse a state of another model."""
    network = known.published()
    own, head = network.state_dict(), set[str]() if is_headless(network) else set(head_parameters(network))
    counters = {name: torch.zeros_like(own[name]) for name in own if name.endswith("num_batches_tracked")}
    state = {**counters, **{name: t for name, t in state.items() if not name.startswith(known.auxiliary)}}
    missing = sorted(set(own) - head - set(state))
    unexpected = sorted(set(state) - set(own))
    if missing or unexpected:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(unexpected)}, which the model has not"] if unexpected else []
        raise UserError(f"weights: {path} is not a checkpoint of {known.title}: it {' and '.join(parts)}.")
    other = [name for name in own if name not in head and state[name].shape != own[name].shape]
    if other:
        name = other[0]
        raise UserError(
            f"weights: {path} is not a checkpoint of {known.title} for three channels: {_listed(other)} of another "
            f"shape, {tuple(state[name].shape)} instead of {tuple(own[name].shape)}."
        )
    return state


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return f"{len(names)} tensors ({shown}, …)" if len(names) > _SHOWN else shown
