"""What a weights file holds, so that runs are named by its content and not by its path. No torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.errors import UserError
from benchmark.matrix import CONTENT, FILE, Matrix


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
    given, marked, promised = matrix.weights.removeprefix(FILE).rpartition(CONTENT)
    path = Path(given if marked else promised)
    if marked and not verify:
        return matrix
    try:
        actual = hashlib.sha256(path.expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"weights: {path} cannot be read ({error.strerror}).") from None
    if marked and actual != promised:
        raise UserError(
            f"weights: {path} is not the file that the matrix names: its SHA-256 is {actual}, not {promised}. "
            "Give these runs a folder of their own with --name, or bring the file back."
        )
    return matrix.model_copy(update={"weights": f"{FILE}{path}{CONTENT}{actual}"})
