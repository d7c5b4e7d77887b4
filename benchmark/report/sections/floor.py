"""Floor rows: what simple methods reach without a network."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.floor import Floor
from benchmark.report import tables
from benchmark.report.text import escape, table

NOTE = (
    "Simple methods on the same splits, without a network (scikit-learn), on grey thumbnails of 24 x 24 pixels, each "
    "with mean 0 and standard deviation 1. majority: always the most frequent class in training; 1-nn and 5-nn: the "
    "nearest training image, or a vote of five; logistic: logistic regression, with C chosen on validation. Votes have "
    f"no ROC AUC. {tables.BEST} the dataset's highest validation accuracy. More columns: [floor.csv](floor.csv)."
)


def floor(floors: Sequence[Floor]) -> str:
    """Return the note and the table of the floor rows, as Markdown."""
    header, rows = tables.floor(floors)
    return f"{NOTE}\n\n{table(header, ([escape(cell) for cell in row] for row in rows), left=3)}"
