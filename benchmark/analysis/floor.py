"""Floor rows by dataset and method, checked, and the best of a dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from benchmark.records.floor import FloorRow, FloorStore, Method, PlannedRow


@dataclass(frozen=True)
class Floor:
    """The floor rows of one method on one dataset: one, or one per fold or split.

    Attributes:
        dataset: title in the matrix.
        method: the method.
        planned: all its rows, done or not.
    """

    dataset: str
    method: Method
    planned: tuple[PlannedRow, ...]

    @property
    def rows(self) -> tuple[FloorRow, ...]:
        """The rows that are done."""
        return tuple(each.row for each in self.planned if each.row is not None)

    @property
    def is_complete(self) -> bool:
        """Whether all rows are done."""
        return len(self.rows) == len(self.planned)

    def mean(self, field: str) -> float | None:
        """Return the mean of a field over the rows that are done, or None if none is done or one lacks it.

        Args:
            field: dotted, e.g. ``validation.accuracy``.
        """
        values = [attrgetter(field)(row) for row in self.rows]
        return None if not values or None in values else math.fsum(values) / len(values)


def by_method(planned: Iterable[PlannedRow]) -> tuple[Floor, ...]:
    """Group floor rows by dataset and method, both in the order of their first row."""
    found: dict[str, dict[Method, list[PlannedRow]]] = {}
    for each in planned:
        found.setdefault(each.spec.dataset, {}).setdefault(each.spec.method, []).append(each)
    return tuple(Floor(dataset, method, tuple(rows)) for dataset, of in found.items() for method, rows in of.items())


def check_rows(planned: Iterable[PlannedRow], store: FloorStore) -> None:
    """Compare the done rows with their predictions.

    Raises:
        UserError: they disagree; the file is named.
    """
    for each in planned:
        if each.row is not None:
            store.answers(each.row)


def best_floor(dataset: str, floors: Sequence[Floor]) -> Floor | None:
    """Return a dataset's method of the highest mean validation accuracy, or None if no method is complete.

    The choice is made on validation, so that it does not bias the test accuracy. Ties: the first in the order of
    `benchmark.records.floor.METHODS`, which is that of their simplicity.
    """
    complete = [floor for floor in floors if floor.dataset == dataset and floor.is_complete]
    return max(complete, key=lambda floor: floor.mean("validation.accuracy") or 0.0, default=None)


def in_words(hyperparameters: Mapping[str, float]) -> str:
    """Return hyperparameters as ``C 0.001``, empty without any."""
    return ", ".join(f"{name} {value:g}" for name, value in hyperparameters.items())
