"""The environment of a run: versions, hardware, source revision, memory used."""

from __future__ import annotations

import functools
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that names the GPUs of a process; it counts from the first use of CUDA on."""

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pytorch-accelerated",
    "accelerate",
    "torchmetrics",
    "numpy",
    "pandas",
    "pillow",
)

WORKER_VARIABLES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Variables that workers are started with, unless the user's environment sets them: glibc keeps freed memory instead of
returning it to the system after each tensor, which takes less time. Results are the same."""


def worker_variables() -> dict[str, str]:
    """Return the variables for a worker's environment: the user's own where they are set."""
    return {name: os.environ.get(name, value) for name, value in WORKER_VARIABLES.items()}


def variables_in_force() -> dict[str, str]:
    """Return the worker variables that are set in this process, with the GPU that it sees."""
    return {name: os.environ[name] for name in (*WORKER_VARIABLES, VISIBLE) if os.environ.get(name)}


@functools.cache
def package_versions() -> dict[str, str]:
    """Return the versions of the libraries that affect results."""
    return {name: metadata.version(name) for name in PACKAGES}


@functools.cache
def cpu_name() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.machine()


@functools.cache
def git_revision() -> tuple[str | None, bool | None]:
    """Return (commit, whether the package differs from it); (None, None) outside a checkout."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changes = git("status", "--porcelain", "--", ".")
    return git("rev-parse", "HEAD"), bool(changes)


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process since its start or, on Linux, since its fork; bytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
