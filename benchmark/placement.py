"""Where stored images lie while a run goes on, and how tensors get to the device without stopping it."""

from __future__ import annotations

import os

import torch
from torch import Tensor

RESIDENT_SHARE = 0.25
"""Share of a GPU's free memory that a run's stored images may take to be kept there; the rest is for activations. More
is streamed in batches."""

LARGEST_CREW = 4
"""Threads that prepare batches for a GPU, at most: more of them wait for each other's turn in the interpreter."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on the device; a GPU copies it from pinned memory while the caller goes on."""
    if device.type == "cuda" and torch.cuda.is_available():  # pinning needs a driver
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def kept_on(device: torch.device, wanted: int) -> bool:
    """Whether stored images are kept on a device: on a GPU where they take at most `RESIDENT_SHARE` of its free memory.

    Args:
        device: the run's.
        wanted: bytes of all splits.
    """
    return device.type == "cuda" and wanted <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def crew(device: torch.device) -> int:
    """Return how many threads prepare batches that take long: on a CPU one, whose other cores have their own runs."""
    return 1 if device.type == "cpu" else min(LARGEST_CREW, os.cpu_count() or 1)
