"""Decisions on further seeds in a matrix with ``seeds: {at_least: A, at_most: B, until: settled}``.

A dataset's headlines are judged after its first A seeds, and again after each further one, by the group-sequential
rule of `benchmark.analysis.uncertainty.sequential`. It takes no more seeds once every headline has a verdict or is
unlikely to get one from B seeds on these images.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.analysis.differences import Difference
from benchmark.analysis.results import Results, load, select_seeds
from benchmark.analysis.uncertainty import sequential
from benchmark.analysis.uncertainty.inference import equivalence_p_value, p_value
from benchmark.analysis.verdicts import headlines, look_at
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.records import looks as file
from benchmark.records.looks import Look, Reading, Row
from benchmark.records.plan import make_plan
from benchmark.records.store import Store

DIGITS = 6
"""Significant digits of a look on disk: more may differ between processors."""


def load_current(matrix: Matrix, store: Store) -> Results:
    """Return the results of a matrix as they are on disk; of seeds that a rule decides on, those that it takes.

    Raises:
        UserError: predictions are damaged.
    """
    return load(matrix, make_plan(matrix, store, _found(matrix, store)), store)


def update(matrix: Matrix, store: Store) -> None:
    """Write the looks that the records allow, if a rule decides on the seeds.

    Raises:
        UserError: predictions are damaged, or the file cannot be written.
    """
    found = _found(matrix, store)
    if found or (store.folder / file.FILE).is_file():
        file.save(store.folder, found)


def _found(matrix: Matrix, store: Store) -> file.Looks:
    if not isinstance(matrix.seeds, UntilSettled):
        return {}
    every = make_plan(matrix.model_copy(update={"seeds": tuple(matrix.seeds)}), store)
    return take(load(matrix, every, store))


def take(results: Results) -> file.Looks:
    """Return the looks at each dataset, from the first one to the one that settles it, or as far as seeds are done."""
    return {dataset: own for dataset in results.datasets if (own := tuple(_looks(dataset, results)))}


def _looks(dataset: str, results: Results) -> Iterator[Look]:
    seeds = results.matrix.seeds
    assert isinstance(seeds, UntilSettled), "these seeds follow a rule"
    done = [
        set(cell.seeds) for key, cell in [*results.by_key.items(), *results.repeats.items()] if key.dataset == dataset
    ]
    for number in range(seeds.at_least, len(seeds) + 1):
        if not all(own.issuperset(seeds[:number]) for own in done):
            return
        first = select_seeds(results, seeds[:number])
        judged = (
            (each, look_at(each, results.matrix)) for each in headlines(first) if each.contrast.dataset == dataset
        )
        rows = [_row(look, difference) for difference, look in judged if look is not None]
        yield Look(seeds=number, rows=tuple(rows))
        if all(row.reading != "open" for row in rows):
            return


def _row(look: sequential.Look, difference: Difference) -> Row:
    contrast, interval = difference.contrast, look.interval
    p, equivalence = p_value(interval), equivalence_p_value(interval, look.margin)
    assert p is not None, "a look has three seeds"
    assert equivalence is not None, "and two p-values"
    of_difference, of_equivalence = look.levels
    reading: Reading = "futile" if look.is_futile else "open"
    if equivalence < of_equivalence:
        reading = "equivalent"
    elif p < of_difference:
        reading = "first" if interval.mean > 0 else "second"
    return Row(
        question=contrast.family,
        first=contrast.first,
        second=contrast.second,
        context=contrast.context,
        model=contrast.setup.model,
        image_size=contrast.setup.image_size,
        difference=_rounded(interval.mean),
        standard_error=_rounded(interval.standard_error or 0.0),
        p=_rounded(p),
        level=_rounded(of_difference),
        p_equivalence=_rounded(equivalence),
        level_equivalence=_rounded(of_equivalence),
        reading=reading,
    )


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
