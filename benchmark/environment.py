"""The environment of a run: versions, hardware, source revision, memory used."""

from __future__ import annotations

import functools
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from benchmark.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Environment variable that names the GPUs visible to a process; read at the first use of CUDA."""

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pytorch-accelerated",
    "accelerate",
    "torchmetrics",
    "numpy",
    "opencv-python-headless",
    "pandas",
)

DECODERS = (
    *("imagecodecs", "pillow", "pydicom", "tifffile"),
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm"),  # pydicom takes them
)
"""Libraries that decode images, if installed. Another version may change the last bits, or read more files."""

WORKER_VARIABLES = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Variables set for workers unless the user's environment sets them. With them glibc keeps freed memory instead of
returning it to the system after each tensor, which is faster. Results are the same."""


SETTINGS_OF_LIBRARIES = {
    "ACCELERATE_": "accelerate: accumulates gradients, changes the precision, compiles, or starts several processes",
    "FSDP_": "accelerate and torch: shards a network",
    "PT_ACC_": "pytorch-accelerated: trains on the first batches only",
    "TIMM_": "timm: other attention kernels, other network classes",
    "FORK_": "timm and accelerate: FORK_LAST3 changes FastViT",
    "TORCH": "torch: TF32, other linear algebra, compilation",
    "PYTORCH_": "torch: other kernels, no JIT",
    "NVIDIA_TF32_OVERRIDE": "CUDA libraries: TF32 on or off, overriding torch",
    "CUBLAS": "CUDA libraries: workspaces, which decide the kernels",
    "CUDNN_": "CUDA libraries",
    "ONEDNN_": "oneDNN: float32 computed in bfloat16",
    "DNNL_": "oneDNN, under its older name",
    "OMP_": "number and placement of threads, which a matrix's `threads` decides",
    "GOMP_": "the same",
    "KMP_": "the same",
    "MKL_": "the same, and other kernels",
    "OPENBLAS_": "the same",
    "WORLD_SIZE": "multi-process launchers: accelerate would wait for the other processes",
    "RANK": "the same",
    "LOCAL_RANK": "the same",
    "LOCAL_WORLD_SIZE": "the same",
    "MASTER_": "the same",
    "PMI_": "the same",
    "OMPI_COMM_": "the same",
    "MV2_COMM_": "the same",
    "NPY_": "NumPy: other type promotion rules",
    "PANDAS_": "pandas: copies, string types",
    "SCIPY_": "SciPy: other array types",
    "SKLEARN_": "scikit-learn: unchecked input, another memory limit",
    "OPENCV_": "OpenCV: other instructions, threads, devices",
    "MPL": "Matplotlib: a backend that is not installed here, fonts",
    "MATPLOTLIBRC": "Matplotlib's settings",
}
"""Prefixes of environment variables that change what libraries compute. They are removed before any run, report or
prediction."""

OF_TRAINING = ("ACCELERATE_", "PT_ACC_")
"""Prefixes of variables that ask for a different training than the matrix describes. `run` refuses them instead of
ignoring what the user may expect."""

PASSED_ON = (
    *("MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"),
    *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"),
    *("ACCELERATE_LOG_LEVEL", "ACCELERATE_DEBUG_MODE", "ACCELERATE_DISABLE_RICH", "ACCELERATE_ENABLE_RICH"),
)
"""Variables with these prefixes that cannot change a result: paths, memory use, log output. torch itself sets one in
the first line, scikit-learn those in the second."""

CHOOSE_INSTRUCTIONS = (
    "ATEN_CPU_CAPABILITY",
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
    "OPENBLAS_CORETYPE",
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"),
    *("GLIBC_TUNABLES", "LD_PRELOAD"),
)
"""Variables that choose processor instructions, which affects the last bits. They are respected and recorded. (The last
two take effect before Python starts.)"""


@functools.cache
def remove_settings() -> tuple[str, ...]:
    """Remove the `SETTINGS_OF_LIBRARIES` from this process before any library reads them, and return their names.

    Child processes inherit the remaining variables.
    """
    return tuple(_remove_settings())


@contextmanager
def without_settings() -> Iterator[tuple[str, ...]]:
    """Remove the `SETTINGS_OF_LIBRARIES` during the block, for the processes it starts; yield their names."""
    removed = _remove_settings()
    try:
        yield tuple(removed)
    finally:
        os.environ.update(removed)


def _remove_settings() -> dict[str, str]:
    kept = {*PASSED_ON, *CHOOSE_INSTRUCTIONS}
    names = [name for name in os.environ if name.startswith(tuple(SETTINGS_OF_LIBRARIES)) and name not in kept]
    return {name: os.environ.pop(name) for name in sorted(names)}


def refuse_other_training(names: Sequence[str]) -> None:
    """Refuse environment variables whose prefix is in `OF_TRAINING`.

    Raises:
        UserError: one of the names has such a prefix.
    """
    if otherwise := [name for name in names if name.startswith(OF_TRAINING)]:
        raise UserError(
            f"{', '.join(otherwise)}: set in the environment. This would change the training, which only the matrix "
            f"may do. Unset for this command: env -u {' -u '.join(otherwise)} …"
        )


def worker_variables() -> dict[str, str]:
    """Return the variables for a worker's environment; values that the user has set take precedence."""
    return {name: os.environ.get(name, value) for name, value in WORKER_VARIABLES.items()}


def variables_in_force() -> dict[str, str]:
    """Return the worker variables and `chosen_instructions` set in this process, and the GPUs visible to it."""
    names = (*WORKER_VARIABLES, VISIBLE)
    return {name: os.environ[name] for name in names if os.environ.get(name)} | chosen_instructions()


def chosen_instructions() -> dict[str, str]:
    """Return the `CHOOSE_INSTRUCTIONS` variables that are set in this process, with their values."""
    return {name: os.environ[name] for name in CHOOSE_INSTRUCTIONS if os.environ.get(name)}


@functools.cache
def package_versions() -> dict[str, str]:
    """Return the versions of the libraries that affect results."""
    return {name: metadata.version(name) for name in PACKAGES} | decoder_versions()


@functools.cache
def decoder_versions() -> dict[str, str]:
    """Return the versions of the installed `DECODERS`."""
    found = {name: _version(name) for name in DECODERS}
    return {name: version for name, version in found.items() if version is not None}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
    """Return the commit and whether the package differs from it, or (None, None) outside a checkout."""
    package = Path(__file__).resolve().parent
    # GIT_DIR and its kind may name another repository
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env=own)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changes = git("status", "--porcelain", "--", ".")
    return git("rev-parse", "HEAD"), bool(changes)


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process in bytes, since its start or, on Linux, its fork."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
