"""Variables of the environment: which settings of libraries are shut out, and what is recorded."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import environment

READ = {
    "accelerate": (
        "accelerator.py",
        "state.py",
        "parallelism_config.py",
        "utils/dataclasses.py",
        "utils/environment.py",
    ),
    "pytorch_accelerated": ("trainer.py", "callbacks.py", "utils.py"),
    "timm": ("layers", "models", "optim"),
}
"""What a run imports of libraries that read their settings from the environment."""

HARMLESS = {
    "CUDA_VISIBLE_DEVICES": "recorded",
    "(FP8|MEGATRON_LM|MEGATRON|PARALLELISM_CONFIG|TP)_.*": "read where an ACCELERATE_USE_… asks for it",
    "XLA_.*|NCCL_.*|DEEPSPEED_.*|PT_HPU_LAZY_MODE|systemdrive": "of other hardware, several GPUs, Windows",
    "SLURM_.*|TRANSFORMERS_.*|TORCH_MODEL_ZOO|FOO": "not read here",
}
"""Patterns of others."""


def names_read(library: str) -> set[str]:
    """Return the names of variables that a library's files read."""
    found = importlib.util.find_spec(library)
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    paths = [path for name in READ[library] for path in ([root / name] if "." in name else (root / name).glob("*.py"))]
    pattern = r"""(?:environ\.get\(|environ\[|getenv\(|_from_env\(|VAR = )\s*["'](\w+)["']"""
    return {name for path in paths for name in re.findall(pattern, path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("library", READ)
def test_every_variable_that_a_library_of_the_training_reads_is_shut_out_or_known(library: str) -> None:
    names = names_read(library)
    assert names
    shut_out = tuple(environment.SETTINGS_OF_LIBRARIES)
    unknown = {name for name in names if not name.startswith(shut_out)}
    assert {name for name in unknown if not re.fullmatch("|".join(HARMLESS), name)} == set()


def test_settings_of_libraries_are_shut_out_and_places_and_instructions_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = (
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "PT_ACC_LIMIT_BATCHES",
        "WORLD_SIZE",
        "OMP_NUM_THREADS",
        "MPLBACKEND",
    )
    kept = ("TORCH_HOME", "PYTORCH_CUDA_ALLOC_CONF", "ONEDNN_MAX_CPU_ISA", "MPLCONFIGDIR", "HF_ENDPOINT", "PATH")
    for name in (*out, *kept):
        monkeypatch.setenv(name, "1")
    assert set(out) <= set(environment.remove_settings.__wrapped__())
    assert not set(out) & set(os.environ)
    assert set(kept) <= set(os.environ)
    assert environment.variables_in_force()["ONEDNN_MAX_CPU_ISA"] == "1"


@pytest.mark.slow
def test_what_libraries_set_themselves_when_they_are_imported_is_not_shut_out() -> None:
    libraries = "accelerate, cv2, matplotlib, sklearn, timm, torch._inductor"
    code = f"import {libraries}; from benchmark.environment import remove_settings; print(remove_settings())"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KMP_", "TORCH"))}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "()\n"


def test_the_revision_is_this_packages_whatever_repository_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    revision = environment.git_revision.__wrapped__()
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert environment.git_revision.__wrapped__() == revision
