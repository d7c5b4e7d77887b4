"""The device of a run: precision, images kept in its memory, and copies to it."""

from __future__ import annotations

import os
from typing import Literal, cast

import torch
from torch import Tensor

from benchmark.errors import UserError

Precision = Literal["fp32", "fp16", "bf16"]

RESIDENT_SHARE = 0.25
"""Largest share of a GPU's free memory for a run's stored images; activations need the rest. Larger datasets are copied
batch by batch."""

MOST_THREADS = 4
"""Maximum number of threads that prepare batches for a GPU; more would wait for the interpreter lock."""


def choose_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 (on a CPU: AVX512-BF16 or AMX).

    Emulated bfloat16 on a CPU trains about ten times more slowly than float32.
    """
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def check_precision(asked: str, device: torch.device) -> None:
    """Check that a device supports a matrix's ``precision`` (``auto``, ``fp32``, ``fp16`` or ``bf16``).

    Raises:
        UserError: fp16 is requested without a GPU, or bf16 would be emulated.
    """
    if asked == "fp16" and device.type == "cpu":
        raise UserError("training.precision: fp16 needs a GPU, but this machine has none. Use auto or fp32.")
    if asked == "bf16" and not has_fast_bf16(device):
        lacking = "this CPU has neither AVX512-BF16 nor AMX" if device.type == "cpu" else "this GPU does not support it"
        raise UserError(f"training.precision: bf16 would be many times slower than fp32: {lacking}. Use auto or fp32.")


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """Return the precision on a device: ``auto`` is fp32 on a CPU, and on a GPU bf16 if it is fast, else fp16."""
    if asked != "auto":
        return cast(Precision, asked)
    if device.type == "cpu":
        return "fp32"
    return "bf16" if has_fast_bf16(device) else "fp16"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to the device; copies to a GPU come from pinned memory and do not block the caller."""
    if device.type == "cuda" and torch.cuda.is_available():  # pinning needs a driver
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def keeps_images(device: torch.device, wanted: int) -> bool:
    """Whether a device keeps stored images of this many bytes: a GPU up to `RESIDENT_SHARE` of its free memory."""
    return device.type == "cuda" and wanted <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def preparing_threads(device: torch.device) -> int:
    """Return the number of threads that prepare slow batches: one on a CPU, whose other cores run other runs."""
    return 1 if device.type == "cpu" else min(MOST_THREADS, os.cpu_count() or 1)
