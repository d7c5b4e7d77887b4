"""A recommendation for each dataset: the cell to use, its cost, its lead, and the cells tied with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmark.analysis.differences import pair_values
from benchmark.analysis.floor import Floor, best_floor
from benchmark.analysis.floor_side import side_of
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.inference import is_equivalent
from benchmark.analysis.uncertainty.interval import SEEDS_FOR_A_VERDICT, Interval
from benchmark.analysis.winner import candidates, winners
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.records.floor import FloorStore
from benchmark.report.tables import cell_in_words
from benchmark.report.text import escape, format_value, points_with_interval, table, with_interval
from benchmark.words import count, duration, listed

MOST_NAMED = 4
"""Maximum number of cells named in one row; further ones are counted."""

LEGEND = (
    "Chosen by validation accuracy among {cells} with all their seeds and the floor rows. Lead: over the next best "
    "cell on test that is not tied, in percent points of test accuracy with the 95 % interval, not corrected for the "
    "number of cells. Tied: the interval contains zero, or the two are equivalent. Cost: time of one run (at most: "
    "every run waited for a processor). One matrix says nothing about other models, resolutions or learning rates."
)

NONE = "Nothing is recommended: no grey cell is done on real images."


@dataclass(frozen=True)
class Recommendation:
    """The cell to use for a dataset, with its facts, Markdown.

    Attributes:
        sentence: the cell to use.
        head: header of the table: the kind of cell, and the cell.
        rows: facts about the cell by their name; empty if no cell has all its seeds.
    """

    sentence: str
    head: tuple[str, str] = ("", "")
    rows: Mapping[str, str] = field(default_factory=dict)


def recommend(results: Results) -> list[Recommendation]:
    """Return a recommendation for each dataset with a done run; generated controls are left out."""
    own = (_recommendation(dataset, results) for dataset in results.datasets if dataset not in results.controls)
    return [each for each in own if each is not None]


def recommendations(results: Results) -> str:
    """Return each dataset's recommendation as a sentence with its table, and the legend, Markdown."""
    parts = []
    for each in recommend(results):
        parts.append(each.sentence)
        if each.rows:
            parts.append(table(each.head, each.rows.items(), left=2))
    return "\n\n".join([*parts, legend(results)]) if parts else NONE


def legend(results: Results) -> str:
    """Return how the recommendations are made."""
    competing = [cell for dataset in results.datasets for cell in candidates(dataset, results)]
    return LEGEND.format(cells="the grey cells" if _all_grey(competing) else "the cells")


def _all_grey(cells: Sequence[Cell]) -> bool:
    return all(INPUT_MODES[cell.key.input_mode].grey for cell in cells)


def _recommendation(dataset: str, results: Results) -> Recommendation | None:
    """Return the cell of the best validation accuracy, compared with the others on test."""
    asked, name = candidates(dataset, results), escape(dataset)
    what = "grey cell" if _all_grey(asked) else "cell"
    complete = [cell for cell in asked if len(cell.seeds) == len(cell.asked)]
    if not complete:
        nothing = Recommendation(f"Nothing is recommended for **{name}**: no {what} has all its seeds.")
        return nothing if any(cell.records for cell in asked) else None
    among = f"the {len(asked)} {what}s"
    if len(complete) < len(asked):
        among = f"the {len(complete)} {what}s of {len(asked)} that have all their seeds"
    chosen, *equals = winners(dataset, results)
    assert chosen.accuracy is not None
    cell, validation = cell_in_words(results, chosen.key), chosen.mean("validation.accuracy") or 0.0
    shared = f", shared with {_named([cell_in_words(results, other.key) for other in equals])}" if equals else ""
    rows = {
        "accuracy": f"{format_value(validation, 0.01, 1)} % on validation, {with_interval(chosen.accuracy)} % on test",
        "chosen as": f"the highest validation accuracy of {among}{shared}",
        "cost": f"{_seconds(chosen)} a run",
    }
    sentence = f"For **{name}** take {cell}"
    if len(chosen.seeds) < SEEDS_FOR_A_VERDICT:
        sentence += f": with {count(len(chosen.seeds), 'seed')} this is only a first impression"
    else:
        rows |= _compared(chosen, complete, results)
    floor = best_floor(dataset, results.floor)
    if floor is None:
        return Recommendation(f"{sentence}.", ("take", cell), rows)
    method = f"{floor.method} on grey thumbnails"
    rows["best floor row"] = f"{method}: {_floor_accuracy(floor)}{_lead_over(floor, chosen, results)}"
    if (floor.mean("validation.accuracy") or 0.0) > validation:
        own = sentence.replace(f"For **{name}** take", "The best network is")
        sentence = f"For **{name}** take {method}, a floor row: no network is better on validation. {own}"
        return Recommendation(f"{sentence}.", ("best network", cell), rows)
    return Recommendation(f"{sentence}.", ("take", cell), rows)


class _Other(NamedTuple):
    """Another cell, and what the chosen one leads it by."""

    cell: Cell
    interval: Interval
    words: str
    is_tied: bool


def _compared(chosen: Cell, complete: Sequence[Cell], results: Results) -> dict[str, str]:
    """Return how the chosen cell compares with the others on test."""
    others = [_other(chosen, cell, results) for cell in complete if cell is not chosen]
    tied = [other for other in others if other.is_tied]
    ahead, behind = ([o for o in others if not o.is_tied and o.interval.sign == sign] for sign in (1, -1))
    rows = {"lead": "none"} if others else {}
    if ahead:
        second = min(ahead, key=lambda other: other.interval.mean)
        rows["lead"] = f"over {second.words}" + (f", the next best of {len(ahead)} cells" if len(ahead) > 1 else "")
    if tied:
        cheapest = min(tied, key=lambda other: _cost(other.cell))
        is_cheaper = _cost(cheapest.cell) < _cost(chosen)
        cheaper = f"the cheapest of them is {cheapest.words}" if is_cheaper else "none is cheaper"
        rows["tied with"] = _named([o.words for o in tied]) + (f"; {cheaper}" if len(tied) > 1 else "")
    if behind:
        rows["behind"] = f"{_named([o.words for o in behind])}: test contradicts validation"
    return rows


def _other(chosen: Cell, cell: Cell, results: Results) -> _Other:
    interval = pair_values([(chosen, cell)]).interval()
    assert interval is not None
    equivalent = is_equivalent(interval, results.matrix.equivalence_margin / 100)
    facts = [points_with_interval(interval), *(["equivalent"] if equivalent else []), _seconds(cell)]
    words = f"{cell_in_words(results, cell.key)} ({', '.join(facts)})"
    return _Other(cell, interval, words, is_tied=equivalent or not interval.sign)


def _named(cells: Sequence[str]) -> str:
    return listed(cells) if len(cells) <= MOST_NAMED else f"{len(cells)} others"


def _floor_accuracy(floor: Floor) -> str:
    on_validation, on_test = (floor.mean(f"{split}.accuracy") or 0.0 for split in ("validation", "test"))
    return f"{format_value(on_validation, 0.01, 1)} % on validation, {format_value(on_test, 0.01, 1)} % on test"


def _lead_over(floor: Floor, chosen: Cell, results: Results) -> str:
    if len(chosen.seeds) < SEEDS_FOR_A_VERDICT:
        return ""
    interval = pair_values([(chosen, side_of(floor, chosen, FloorStore(results.store.folder)))]).interval()
    assert interval is not None
    return f"; the network is {points_with_interval(interval)} points ahead of it"


def _cost(cell: Cell) -> float:
    """Return the mean time of a run, seconds."""
    seconds = cell.mean_time("total_seconds")
    return seconds.value if seconds else 0.0


def _seconds(cell: Cell) -> str:
    seconds = cell.mean_time("total_seconds")
    return "" if seconds is None else f"{'at most ' if seconds.bound else ''}{duration(seconds.value)}"
