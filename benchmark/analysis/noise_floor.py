"""Pairs of cells that are one function by construction, computed along different paths: what last bits alone change.

Under a frozen stem, grey repeated on three channels and grey on one with the summed filters are the same function. So
are they, where all channels have one mean and standard deviation, in training with ``stem_lr_factor: 3`` on one channel
(`benchmark.networks.stems`). Their runs differ by rounding, which training amplifies: the noise of a single run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.analysis.differences import pair_values
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.design import UNTESTED
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec

STEM_RATE = 3
"""Factor of the stem's rate at which one channel is trained as three equal ones are: their gradients add up."""


@dataclass(frozen=True)
class NoisePair:
    """Two cells that are one function.

    Attributes:
        policy: policy of the first cell.
        differences: first - second for each seed that both have, shares.
        interval: interval of their mean.
    """

    policy: str
    differences: tuple[float, ...]
    interval: Interval


def noise_floor(results: Results) -> list[NoisePair]:
    """Return the pairs whose cells are done, in the order of the matrix."""
    found = []
    for first, second in _same_functions(results):
        paired = pair_values([(first, second)])
        interval = paired.interval()
        if interval is not None:
            rows = tuple(float(row[row != UNTESTED].mean()) for row in paired.values)
            found.append(NoisePair(first.key.policy, rows, interval))
    return found


def rms(pairs: Sequence[NoisePair]) -> float:
    """Return the root mean square of the differences between single runs, shares."""
    return root_mean_square([difference for pair in pairs for difference in pair.differences])


def root_mean_square(values: Sequence[float]) -> float:
    """Return the root mean square of some values."""
    return math.sqrt(math.fsum(value**2 for value in values) / len(values))


def _same_functions(results: Results) -> Iterator[tuple[Cell, Cell]]:
    specs = {run.spec.cell: run.spec for run in results.plan.runs}
    for key, cell in results.repeats.items():
        first = results.by_key[results.repeated[key]]
        takes_another_path = len({INPUT_MODES[mode].channels for mode in (key.input_mode, first.key.input_mode)}) > 1
        if takes_another_path and any(stage.trainable != "head" for stage in specs[key].stages):
            yield first, cell
    for first, second in itertools.permutations(results.by_key.values(), 2):
        if (first.key.input_mode, second.key.input_mode) == ("grey-3ch", "grey-1ch") and first.records:
            has_one_norm = all(
                record.model.pretrained_mean is not None
                and len({*record.model.pretrained_mean}) == len({*(record.model.pretrained_std or ())}) == 1
                for record in first.records.values()
            )
            if has_one_norm and _is_at_another_stem_rate(specs[first.key], specs[second.key]):
                yield first, second


def _is_at_another_stem_rate(plain: RunSpec, other: RunSpec) -> bool:
    """Return whether the second is the first with the stem's rate times `STEM_RATE` wherever it trains the stem."""
    if (plain.dataset, plain.cell.setup) != (other.dataset, other.cell.setup):
        return False
    stages = tuple(
        stage.model_copy(update={"stem_lr_factor": stage.stem_lr_factor * STEM_RATE})
        if stage.trainable == "all"
        else stage
        for stage in plain.stages
    )
    return stages == other.stages and plain.weights != "none" and stages != plain.stages
