"""The answers of a floor row in the form of a cell's, so that the two can be compared image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.analysis.floor import Floor
from benchmark.analysis.results import Cell
from benchmark.analysis.uncertainty.design import UNTESTED
from benchmark.errors import UserError
from benchmark.records.floor import FloorStore, floor_specs


@dataclass(frozen=True)
class FloorSide:
    """A floor row on the test images of a cell's runs.

    It has no seeds: its answers are the same in all runs on the same splits, and vary with the images alone.

    Attributes:
        seeds: the cell's, ascending.
        images: ids of the cell's test images, ascending.
        correct: int8, shape (seeds, images): 1 right, 0 wrong, `UNTESTED` where the seed's fold lacks the image.
    """

    seeds: tuple[int, ...]
    images: np.ndarray
    correct: np.ndarray


def side_of(floor: Floor, cell: Cell, store: FloorStore) -> FloorSide:
    """Return a complete floor row, one per fold or split where the seed chooses it, on a cell's test images.

    Raises:
        UserError: a row was tested on other images, or with other labels, than a run of the cell; its file is named.
    """
    rows = {row.spec.images: row for row in floor.rows}
    correct = np.full(cell.correct.shape, UNTESTED, dtype=np.int8)
    for own, (seed, test) in zip(correct, cell.tests.items(), strict=True):
        row = rows[floor_specs([cell.records[seed].spec])[0].images]
        answers = store.answers(row)
        order = np.argsort(answers.image_id)
        ids, labels = answers.image_id[order], answers.label[order]
        if not np.array_equal(ids, test.images.ids) or not np.array_equal(labels, test.images.labels):
            raise UserError(
                f"{store.path(row.id)}: its test images or labels differ from those of the runs on {floor.dataset}. "
                "Delete it and run the matrix again."
            )
        own[np.searchsorted(cell.images, ids)] = (answers.predicted[order] == labels).astype(np.int8)
    return FloorSide(cell.seeds, cell.images, correct)
