"""Groups of test images in ``groups.csv`` of a results folder: the sampling units of its intervals.

Images of one group (frames of a clip, images of a patient, near-duplicates) tend to be right or wrong together. ``run``
adds the groups it finds. Users may correct or supply the file: the rows of a dataset that has any are kept. There is
one row per test image, over all classes and all folds of a cross-validation. Datasets are identified by their
fingerprint, since labels may change or be reused.
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
"""Fingerprint or its `key` -> image id -> name of the group."""


def key(fingerprint: str) -> str:
    """Return the first digits of a dataset's fingerprint, as many as the report shows, which identify it here."""
    return fingerprint[:12]


def read(folder: Path) -> dict[str, dict[str, str]]:
    """Return the groups in a results folder, which are empty if the file is missing.

    Raises:
        UserError: the file cannot be read, its columns are wrong, a field is empty, or an image is a duplicate.
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
            raise UserError(f"{place}: the three fields {','.join(COLUMNS)} must not be empty.")
        dataset, image, group = map(spreadsheet.text_of, row)
        if image in found.setdefault(dataset, {}):
            raise UserError(f"{place}: {image} of {dataset} is listed twice.")
        found[dataset][image] = group
    return found


def add(folder: Path, found: Groups) -> tuple[str, ...]:
    """Add groups, given by fingerprint, of datasets that have no rows yet, and return the keys of these datasets.

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
            write_atomically(folder / FILE, _encode({**known, **{dataset: new[dataset] for dataset in added}}))
    return added


def _encode(groups: Groups) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for dataset in sorted(groups):
        for image, group in sorted(groups[dataset].items()):
            writer.writerow(map(spreadsheet.cell, (dataset, image, group)))
    return buffer.getvalue().encode()
