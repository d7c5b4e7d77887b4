"""Recognition and description of out-of-memory errors. Torch is imported when there is an error to look at."""

from __future__ import annotations

from pathlib import Path

import psutil

MEGABYTE = 1 << 20

_SAID_BY_THE_ALLOCATOR = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""Words of a plain RuntimeError of PyTorch's allocator on the CPU, and of an OSError if a library cannot be mapped."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the device or in the process."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _SAID_BY_THE_ALLOCATOR)


def memory_in_use() -> str:
    """Return the memory of this process, or of the GPU if there is one, in words."""
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        return f"{peak // MEGABYTE:,} MB allocated at most, {free // MEGABYTE:,} of {total // MEGABYTE:,} MB free"
    process = psutil.Process().memory_info()
    return f"{process.rss // MEGABYTE:,} MB resident, {process.vms // MEGABYTE:,} MB mapped"


def kills() -> int | None:
    """Return how many processes the kernel's out-of-memory killer has ended since the system's start.

    ``oom_kill`` of ``/proc/vmstat`` (Linux 4.13), those of limited groups included; None if the system does not count.
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration):
        return None
