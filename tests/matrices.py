"""Matrices and specs for the tests of the torch-free half."""

from __future__ import annotations

from typing import Any

from benchmark.matrix import Matrix

SMALL: dict[str, Any] = {
    "name": "small",
    "models": ["timm/test_resnet"],
    "weights": "none",
    "datasets": ["beans"],
    "input_modes": ["rgb"],
    "policies": ["scratch"],
    "seeds": [0],
}
"""One run."""


def matrix(**changes: Any) -> Matrix:
    """Return the small matrix with other values."""
    return Matrix.model_validate({**SMALL, **changes})
