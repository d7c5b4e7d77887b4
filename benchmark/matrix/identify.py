"""What a user's folders hold, so that runs are named by their images and not by a path."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from benchmark.data.catalogue import FOLDER
from benchmark.data.decoding.pool import Progress
from benchmark.data.folders import list_folder
from benchmark.data.index import scan
from benchmark.errors import UserError, did_you_mean
from benchmark.matrix.matrix import DatasetEntry, Matrix


def identified(matrix: Matrix, *, verify: bool = False, progress: Progress | None = None) -> Matrix:
    """Return a matrix whose folders carry the hash of images, classes, splits and groups, and whether they have colour.

    Args:
        matrix: as read; entries that carry a hash already are kept as they are.
        verify: look again at these too, and refuse a folder that is not what the matrix says.
        progress: called while a folder is read for the first time.

    Raises:
        UserError: a folder is missing, has another content than the matrix says, lacks a class that the matrix names,
            or leaves nothing to run.
    """
    entries = [
        _identified(entry, progress) if entry.is_folder and (verify or entry.content is None) else entry
        for entry in matrix.datasets
    ]
    if tuple(entries) == matrix.datasets:
        return matrix
    try:
        return Matrix.model_validate({**matrix.model_dump(), "datasets": [entry.model_dump() for entry in entries]})
    except ValidationError as error:
        raise UserError("\n".join(str(problem["ctx"]["error"]) for problem in error.errors())) from None


def _identified(entry: DatasetEntry, progress: Progress | None) -> DatasetEntry:
    listing = list_folder(Path(entry.name.removeprefix(FOLDER)))
    for wanted in entry.classes or ():
        if wanted not in listing.classes:
            raise UserError(f"{entry.name}: there is no class {wanted!r}.{did_you_mean(wanted, listing.classes)}")
    table = scan(listing, progress)
    found = dict(zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    rows = [
        [file.id, found[file.id], listing.classes[file.label], file.split, *([file.clip] if file.clip else [])]
        for file in listing.files
    ]
    content = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    if entry.content not in (None, content):
        raise UserError(
            f"{entry.name}: its images, classes, splits or groups have changed since the matrix was made. "
            "Give the new ones results of their own with --name, and take `content` out of the matrix."
        )
    return entry.model_copy(update={"content": content, "colour": any(table["colour"].to_pylist())})
