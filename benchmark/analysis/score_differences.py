"""Paired differences in macro F1, log loss and calibration error: no means over images, so by the crossed bootstrap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.analysis.differences import Contrast, paired_values
from benchmark.analysis.results import Results
from benchmark.analysis.scores import Quality
from benchmark.analysis.uncertainty.bootstrap import mean_scores
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
    own = []
    for seed in seeds:
        both = [(first.tests[seed].quality, second.tests[seed].quality) for first, second in pairs]
        macro_f1, log_loss, error = (sum(a.scores[k] - b.scores[k] for a, b in both) / len(pairs) for k in range(3))
        resampled = np.sum([a.resampled - b.resampled for a, b in both], axis=0) / len(pairs)
        own.append(Quality((macro_f1, log_loss, error), resampled))
    telling = int(np.count_nonzero(((values != 0) & (values != UNTESTED)).any(axis=0)))
    return mean_scores(own, values.shape[1], pairs[0][0].folds, telling, as_groups(groups))
