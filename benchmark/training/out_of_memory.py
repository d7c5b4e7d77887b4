"""Recognition and description of out-of-memory errors. Torch is imported only when there is an error."""

from __future__ import annotations

from pathlib import Path

import psutil

MEGABYTE = 1 << 20

_SAID_BY_THE_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""Texts in a RuntimeError of PyTorch's CPU allocator, and in an OSError if a library cannot be mapped."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device or the process ran out of memory."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _SAID_BY_THE_ALLOCATOR)


def memory_in_use() -> str:
    """Return the memory use of this process, or of the GPU if there is one, in words."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        return f"{peak // MEGABYTE:,} MB allocated at most, {free // MEGABYTE:,} of {total // MEGABYTE:,} MB free"
    process = psutil.Process().memory_info()
    return f"{process.rss // MEGABYTE:,} MB resident, {process.vms // MEGABYTE:,} MB mapped"


def kills() -> int | None:
    """Return the number of processes ended by the kernel's out-of-memory killer since boot, or None if not counted.

    Read from ``oom_kill`` in ``/proc/vmstat`` (Linux 4.13), which includes memory-limited groups.
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return None
