"""A recommendation for each dataset, in words."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.differences import pair_values
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.interval import SEEDS_FOR_A_VERDICT
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.analysis.winner import candidates, winners
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.report.tables import cell_in_words
from benchmark.report.text import escape, points_with_interval, with_interval
from benchmark.words import count, listed

LEGEND = (
    "The choice is made by validation accuracy, among {cells} with all their seeds. In brackets: its lead over the "
    "other cell in percent points of test accuracy with the 95 % interval, not corrected for the number of cells, and "
    "the other cell's training time (at most: every run of it waited for a processor). One matrix says nothing about "
    "other models, resolutions or learning rates."
)


def recommendations(results: Results) -> str:
    """Return the recommended grey mode and policy for each dataset with a done run, Markdown."""
    lines = [_recommendation(dataset, results) for dataset in results.datasets if dataset not in results.controls]
    if not any(lines):
        return "No recommendation: no grey cell is done on real images."
    competing = [cell for dataset in results.datasets for cell in candidates(dataset, results)]
    legend = LEGEND.format(cells="the grey cells" if _all_grey(competing) else "the cells")
    return "\n".join([*(line for line in lines if line), "", legend])


def _all_grey(cells: Sequence[Cell]) -> bool:
    return all(INPUT_MODES[cell.key.input_mode].grey for cell in cells)


def _recommendation(dataset: str, results: Results) -> str:
    """Return one item: the cell of the best validation accuracy, compared with the others on test."""
    asked = candidates(dataset, results)
    what = "grey cell" if _all_grey(asked) else "cell"
    complete = [cell for cell in asked if len(cell.seeds) == len(cell.asked)]
    if not complete:
        return f"- **{escape(dataset)}**: none, no {what} has all its seeds." if any(c.records for c in asked) else ""
    among = f"the {len(asked)} {what}s"
    if len(complete) < len(asked):
        among = f"the {len(complete)} {what}s of {len(asked)} that have all their seeds"
    highest = winners(dataset, results)
    chosen = highest[0]
    assert chosen.accuracy is not None
    text = (
        f"- **{escape(dataset)}**: {cell_in_words(results, chosen.key)}, {with_interval(chosen.accuracy)} % on test"
        f"{_seconds(chosen)}. It has the highest validation accuracy of {among}"
    )
    text += (
        f", shared with {listed([cell_in_words(results, cell.key) for cell in highest[1:]])}." if highest[1:] else "."
    )
    if len(chosen.seeds) < SEEDS_FOR_A_VERDICT:
        return f"{text} With {count(len(chosen.seeds), 'seed')} this is only a first impression."
    by_sign: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for other in complete:
        if other is chosen:
            continue
        values, _, groups = pair_values([(chosen, other)])
        interval = mean_difference(values, chosen.folds, groups=groups)
        by_sign[interval.sign].append(
            f"{cell_in_words(results, other.key)} ({points_with_interval(interval)}{_seconds(other)})"
        )
    if by_sign[1]:
        text += f" On test it is ahead of {listed(by_sign[1])}."
    if by_sign[0]:
        text += f" The comparison with {listed(by_sign[0])} is inconclusive: if one of them is cheaper, use that."
    if by_sign[-1]:
        text += f" Test contradicts validation: it is behind {listed(by_sign[-1])}."
    return text


def _seconds(cell: Cell) -> str:
    seconds = cell.mean_time("train_seconds")
    if seconds is None:
        return ""
    return f", {'at most ' if seconds.bound else ''}{seconds.value:.0f} s of training"
