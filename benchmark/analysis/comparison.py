"""Two results of one matrix compared run by run: what another machine, version or number of threads changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.analysis.differences import Difference
from benchmark.analysis.noise_floor import NoisePair, noise_floor, root_mean_square
from benchmark.analysis.results import Cell, Results, load
from benchmark.analysis.verdicts import differences
from benchmark.errors import UserError
from benchmark.matrix.run_spec import CellKey

Run = tuple[CellKey, int]
"""A run of a comparison: its cell and its seed."""


@dataclass(frozen=True)
class Drift:
    """One run in both results; second - first.

    Attributes:
        cell: the run's cell.
        seed: its seed.
        first: test accuracy in the first results, 0..1.
        second: that in the second.
        images: number of test images.
        changed: number of test images with another predicted class.
        largest: largest change of a class probability, 0..1.
    """

    cell: CellKey
    seed: int
    first: float
    second: float
    images: int
    changed: int
    largest: float

    @property
    def accuracy(self) -> float:
        """Change of the test accuracy, -1..1."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two results of one matrix, restricted to the runs that both have done.

    Attributes:
        first: the first results.
        second: the second.
        drifts: one per run, in the order of the first matrix.
        alone: number of runs that only the first, and only the second, has done.
        noise: pairs of cells that are one function by construction, of both results.
        verdicts: the differences that both have measured, paired.
    """

    first: Results
    second: Results
    drifts: tuple[Drift, ...]
    alone: tuple[int, int]
    noise: tuple[NoisePair, ...]
    verdicts: tuple[tuple[Difference, Difference], ...]

    @property
    def turned(self) -> list[tuple[Difference, Difference]]:
        """The pairs of differences with different verdicts."""
        return [pair for pair in self.verdicts if len({_verdict(each) for each in pair}) == 2]

    @property
    def headline_pairs(self) -> list[tuple[Difference, Difference]]:
        """The pairs that answer a question."""
        return [pair for pair in self.verdicts if pair[0].contrast.headline]

    @property
    def identical(self) -> int:
        """Number of runs whose predictions are equal to the last bit."""
        return sum(not drift.changed and not drift.largest for drift in self.drifts)


def _verdict(difference: Difference) -> tuple[int, bool]:
    return difference.sign, difference.is_equivalent


def rms(drifts: Sequence[Drift]) -> float:
    """Return the root mean square of the changes of test accuracy, shares."""
    return root_mean_square([drift.accuracy for drift in drifts])


def compare(first: Results, second: Results) -> Comparison:
    """Compare two results run by run, and their verdicts from the runs that both have done.

    Runs are paired by cell and seed, so that their ids may differ, as they do with another number of threads.

    Raises:
        UserError: no run is done in both, or a dataset's images differ, or predictions are damaged.
    """
    runs = [_done(results) for results in (first, second)]
    common = [run for run in runs[0] if run in runs[1]]
    if not common:
        raise UserError(f"{first.store.folder} and {second.store.folder}: no run is done in both (same cell and seed).")
    drifts = tuple(_drift(run, runs[0][run], runs[1][run], (first, second)) for run in common)
    one, other = (_restricted(results, common) for results in (first, second))
    of_other = {each.contrast: each for each in differences(other)}
    found = ((each, of_other.get(each.contrast)) for each in differences(one))
    pairs = [(a, b) for a, b in found if b is not None and a.interval is not None and b.interval is not None]
    alone = len(runs[0]) - len(common), len(runs[1]) - len(common)
    return Comparison(one, other, drifts, alone, (*noise_floor(one), *noise_floor(other)), tuple(pairs))


def _done(results: Results) -> dict[Run, Cell]:
    every = [*results.by_key.values(), *results.repeats.values()]
    return {(cell.key, seed): cell for cell in every for seed in cell.seeds}


def _restricted(results: Results, runs: Collection[Run]) -> Results:
    """Return the results of some runs; the others count as pending."""
    chosen = set(runs)
    planned = tuple(
        run if (run.spec.cell, run.spec.seed) in chosen else replace(run, state="pending", record=None)
        for run in results.plan.runs
    )
    return load(results.matrix, replace(results.plan, runs=planned), results.store)


def _drift(run: Run, cell: Cell, other: Cell, both: tuple[Results, Results]) -> Drift:
    key, seed = run
    records = cell.records[seed], other.records[seed]
    one, two = (results.store.predictions(record) for results, record in zip(both, records, strict=True))
    order, others = np.argsort(one.image_id), np.argsort(two.image_id)
    same_images = np.array_equal(np.array(one.image_id)[order], np.array(two.image_id)[others])
    if records[0].dataset.fingerprint != records[1].dataset.fingerprint or not same_images:
        places = [results.store.path(record.id) for results, record in zip(both, records, strict=True)]
        raise UserError(
            f"{places[0]} and {places[1]}: tested on different images of {key.dataset}. Only results on the same "
            "images can be compared."
        )
    changes = np.abs(one.probabilities[order].astype(np.float64) - two.probabilities[others])
    return Drift(
        *(key, seed, records[0].test.accuracy, records[1].test.accuracy, len(one.image_id)),
        changed=int(np.count_nonzero(one.predicted[order] != two.predicted[others])),
        largest=float(changes.max(initial=0.0)),
    )
