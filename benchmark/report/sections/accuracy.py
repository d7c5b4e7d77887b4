"""Test accuracy of the cells, and what simple methods reach without a network."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.results import Results
from benchmark.report import tables
from benchmark.report.text import escape, table
from benchmark.words import listed

FLOOR_NOTE = (
    "Floor rows: simple methods on the same splits, without a network (scikit-learn), on grey thumbnails of 24 x 24 "
    "pixels, each with mean 0 and standard deviation 1. "
    f"{tables.BEST} the dataset's highest validation accuracy. More columns: [floor.csv](floor.csv).\n\n"
    "majority: always the most frequent class in training; 1-nn and 5-nn: the nearest training image, or a vote of "
    "five; logistic: logistic regression, with C chosen on validation. Votes have no ROC AUC."
)


def accuracy_table(results: Results) -> str:
    """Return the table of the cells, Markdown."""
    header, rows = tables.comparison(results)
    return _emphasised(header, rows, left=len(header) - len(results.matrix.policies))


def not_applicable(results: Results) -> str:
    """Return a sentence on the modes without a row, with the reason, or nothing if each has one."""
    places: dict[tuple[str, str], list[str]] = {}
    for each in results.not_applicable:
        if each.of_all:
            places.setdefault((each.input_mode, each.reason), []).append(escape(each.dataset))
    said = [f"{mode} on {listed(datasets)} ({escape(reason)})" for (mode, reason), datasets in places.items()]
    return f"Not applicable: {'; '.join(said)}." if said else ""


def floor_table(results: Results) -> str:
    """Return the table of the floor rows, Markdown."""
    return _emphasised(*tables.floor(results.floor), left=3)


def _emphasised(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table with what is marked as best in bold."""
    shown = [[f"**{escape(text)}**" if text.endswith(tables.BEST) else escape(text) for text in row] for row in rows]
    return table(header, shown, left)
