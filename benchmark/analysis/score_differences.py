"""Paired differences in macro F1, log loss and calibration error: no means over images, so by the crossed bootstrap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.analysis.differences import Contrast, paired_values
from benchmark.analysis.results import Results
from benchmark.analysis.scores import SCORES
from benchmark.analysis.uncertainty.bootstrap import mean_score
from benchmark.analysis.uncertainty.clusters import as_groups
from benchmark.analysis.uncertainty.folds import UNTESTED
from benchmark.analysis.uncertainty.interval import Interval


def score_differences(contrast: Contrast, results: Results) -> Mapping[str, Interval]:
    """Return first - second in each of `SCORES` on the same seeds and the same resamples; empty without a common seed.

    Where the contrast is a mean over pairs of cells, so is this.
    """
    pairs = [(results.by_key[first], results.by_key[second]) for first, second in contrast.pairs]
    values, seeds, groups = paired_values(pairs)
    if not seeds:
        return {}
    tests = [[(first.tests[seed].quality, second.tests[seed].quality) for first, second in pairs] for seed in seeds]
    telling = int(np.count_nonzero(((values != 0) & (values != UNTESTED)).any(axis=0)))
    return {
        name: mean_score(
            [sum(first.scores[k] - second.scores[k] for first, second in of_seed) / len(pairs) for of_seed in tests],
            np.stack([sum(a.resampled[k] - b.resampled[k] for a, b in of_seed) / len(pairs) for of_seed in tests]),
            values.shape[1],
            pairs[0][0].folds,
            telling if name == "macro_f1" else None,
            as_groups(groups),
        )
        for k, name in enumerate(SCORES)
    }
