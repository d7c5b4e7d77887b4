"""Test accuracy of each dataset's cells, and under them what simple methods reach without a network."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.results import Results
from benchmark.report import tables
from benchmark.report.text import escape, table

FLOOR_NOTE = (
    "Floor rows: simple methods on the same splits, without a network (scikit-learn), on grey thumbnails of 24 x 24 "
    "pixels, each with mean 0 and standard deviation 1. "
    f"{tables.BEST} the dataset's highest validation accuracy. More columns: [floor.csv](floor.csv).\n\n"
    "majority: always the most frequent class in training; 1-nn and 5-nn: the nearest training image, or a vote of "
    "five; logistic: logistic regression, with C chosen on validation. Votes have no ROC AUC."
)


def accuracy_tables(results: Results) -> str:
    """Return each dataset's table of cells and its table of floor rows, Markdown."""
    cells, floors = tables.comparison(results), tables.floor(results.floor)
    names = len(cells[0]) - len(results.matrix.policies)
    parts = []
    for dataset in results.datasets:
        parts.append(f"### {escape(dataset)}")
        parts.append(_own(dataset, *cells, left=names))
        parts.append(_own(dataset, *floors, left=3))
    return "\n\n".join(parts)


def _own(dataset: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return the rows of a dataset as a table without its first column, which names the dataset."""
    shown = [[_emphasised(text) for text in row[1:]] for row in rows if row[0] == dataset]
    return table(header[1:], shown, left - 1)


def _emphasised(text: str) -> str:
    return f"**{escape(text)}**" if text.endswith(tables.BEST) else escape(text)
