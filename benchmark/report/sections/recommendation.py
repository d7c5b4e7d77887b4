"""A recommendation for each dataset, in words."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.differences import pair_values
from benchmark.analysis.floor import Floor, best_floor
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.interval import SEEDS_FOR_A_VERDICT
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.analysis.winner import candidates, winners
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.report.tables import cell_in_words
from benchmark.report.text import escape, format_value, points_with_interval, with_interval
from benchmark.words import count, duration, listed

MOST_NAMED = 4
"""Limit of cells named in one sentence; more are counted."""

LEGEND = (
    "Chosen by validation accuracy among {cells} with all their seeds and the floor rows. In brackets: the lead over "
    "the other cell in percent points of test accuracy with the 95 % interval, not corrected for their number, and "
    "the time of one of its runs (at most: every one waited for a processor). One matrix says nothing about other "
    "models, resolutions or learning rates."
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
    chosen, *equals = winners(dataset, results)
    assert chosen.accuracy is not None
    validation = chosen.mean("validation.accuracy") or 0.0
    text = (
        f"{cell_in_words(results, chosen.key)}, {with_interval(chosen.accuracy)} % on test, "
        f"{format_value(validation, 0.01, 1)} % on validation, {_seconds(chosen)} a run. "
        f"It has the highest validation accuracy of {among}"
    )
    text += f", shared with {_named([(cell, cell_in_words(results, cell.key)) for cell in equals])}." if equals else "."
    if len(chosen.seeds) < SEEDS_FOR_A_VERDICT:
        text += f" With {count(len(chosen.seeds), 'seed')} this is only a first impression."
    else:
        text += _compared(chosen, complete, results)
    return f"- **{escape(dataset)}**: {_with_floor(text, validation, best_floor(dataset, results.floor))}"


def _compared(chosen: Cell, complete: Sequence[Cell], results: Results) -> str:
    """Return how the chosen cell compares with the others on test, in sentences that begin with a space."""
    by_sign: dict[int, list[tuple[Cell, str]]] = {1: [], 0: [], -1: []}
    for other in complete:
        if other is not chosen:
            values, _, groups = pair_values([(chosen, other)])
            interval = mean_difference(values, chosen.folds, groups=groups)
            words = f"{cell_in_words(results, other.key)} ({points_with_interval(interval)}, {_seconds(other)})"
            by_sign[interval.sign].append((other, words))
    text = f" On test it is ahead of {_named(by_sign[1])}." if by_sign[1] else ""
    if by_sign[0]:
        text += f" The comparison with {_named(by_sign[0])} is inconclusive"
        if len(by_sign[0]) > 1:
            cheapest, words = min(by_sign[0], key=lambda pair: _cost(pair[0]))
            text += f"; the cheapest of them is {words}" if _cost(cheapest) < _cost(chosen) else "; none is cheaper"
        text += "."
    if by_sign[-1]:
        text += f" Test contradicts validation: it is behind {_named(by_sign[-1])}."
    return text


def _named(cells: Sequence[tuple[Cell, str]]) -> str:
    return listed([words for _, words in cells]) if len(cells) <= MOST_NAMED else f"{len(cells)} others"


def _with_floor(text: str, validation: float, floor: Floor | None) -> str:
    """Return the text about the best cell with the best floor row, which comes first if it is better on validation."""
    if floor is None:
        return text
    on_test, on_validation = (floor.mean(f"{split}.accuracy") or 0.0 for split in ("test", "validation"))
    words = (
        f"{floor.method} on grey thumbnails, {format_value(on_test, 0.01, 1)} % on test, "
        f"{format_value(on_validation, 0.01, 1)} % on validation"
    )
    if on_validation > validation:
        return f"{words}: a floor row, no network is better on validation. The best network is {text}"
    return f"{text} The best floor row is {words}."


def _cost(cell: Cell) -> float:
    """Return the mean time of a run, seconds."""
    seconds = cell.mean_time("total_seconds")
    return seconds.value if seconds else 0.0


def _seconds(cell: Cell) -> str:
    seconds = cell.mean_time("total_seconds")
    return "" if seconds is None else f"{'at most ' if seconds.bound else ''}{duration(seconds.value)}"
