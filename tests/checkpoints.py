"""Files of made-up pretrained weights for the tests of models."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmark.networks.libraries.find import find_architecture


def made_up(model: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a three-channel checkpoint of a model: its own random weights, with nothing left at a neutral value.

    Batch norms get statistics, biases and scales that are not 0 and 1, and layer scales that are not tiny, as after a
    training; otherwise an adaptation that forgot one of them would go unseen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = find_architecture(model).published().state_dict()
        for name, tensor in state.items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                if name.endswith(("running_var", "weight", "gamma")):
                    tensor.copy_(torch.rand_like(tensor) + 0.5)
                else:
                    tensor.add_(0.1 * torch.randn_like(tensor))
    return state


def write(model: str, folder: Path, seed: int = 0) -> str:
    """Write such a checkpoint and return the matrix's word for it, ``file:PATH``."""
    path = folder / f"{model.replace('/', '-')}-{seed}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in made_up(model, seed).items()}, path)
    return f"file:{path}"
