"""Groups of test images: ``groups.csv`` of a results folder, the units of its intervals.

Images of one group (frames of a clip, images of a patient, near-duplicates) are right or wrong together. ``run`` adds
the groups that it finds; people may correct the file, or supply it: a dataset that has rows keeps them. One row per
test image, of all folds where a dataset is cross-validated, and of all classes. Datasets are named by their
fingerprint: a label may change, and another dataset may take it over.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from benchmark import spreadsheet
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.records.locks import folder_locked

FILE = "groups.csv"
COLUMNS = ("fingerprint", "image_id", "group")
"""``fingerprint`` is a `key`."""

Groups = Mapping[str, Mapping[str, str]]
"""Fingerprint, or `key` of it -> image id -> name of its group."""


def key(fingerprint: str) -> str:
    """Return the digits of a dataset's fingerprint that name it here: as many as the report shows."""
    return fingerprint[:12]


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Return the groups in a results folder; empty if it has no such file.

    Raises:
        UserError: it cannot be read, its columns are others, a field is empty, or an image is a duplicate.
    """
    path = folder / FILE
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        numbered = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: {error}.") from None
    if not numbered or tuple(numbered[0][1]) != COLUMNS:
        raise UserError(f"{path}:1: the columns must be {','.join(COLUMNS)}.")
    found: dict[str, dict[str, str]] = {}
    for number, row in numbered[1:]:
        place = f"{path}:{number}"
        if len(row) != len(COLUMNS) or not all(row):
            raise UserError(f"{place}: needs the three fields {','.join(COLUMNS)}, none of them empty.")
        dataset, image, group = map(spreadsheet.text_of, row)
        if image in found.setdefault(dataset, {}):
            raise UserError(f"{place}: {image} of {dataset} is listed twice.")
        found[dataset][image] = group
    return found


def add(folder: Path, found: Groups) -> tuple[str, ...]:
    """Add the groups of datasets that have no rows yet, given by fingerprint; return the keys of these datasets.

    Raises:
        UserError: the file is damaged, or cannot be written.
    """
    new = {key(fingerprint): groups for fingerprint, groups in found.items()}
    if not set(new) - set(read(folder)):
        return ()
    with folder_locked(folder):
        known = read(folder)
        added = tuple(dataset for dataset in new if dataset not in known and new[dataset])
        if added:
            write_atomically(folder / FILE, _encoded({**known, **{dataset: new[dataset] for dataset in added}}))
    return added


def _encoded(groups: Groups) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for dataset in sorted(groups):
        for image, group in sorted(groups[dataset].items()):
            writer.writerow(map(spreadsheet.cell, (dataset, image, group)))
    return buffer.getvalue().encode()
