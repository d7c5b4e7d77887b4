"""Verdicts: the differences of a matrix, judged so that a report holds a wrong verdict in at most 5 % of cases."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmark.analysis.contrasts import QUESTIONS, Contrast, contrasts
from benchmark.analysis.differences import Difference, measure
from benchmark.analysis.results import Results, select_seeds
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE
from benchmark.analysis.uncertainty.pooling import pool
from benchmark.analysis.uncertainty.sequential import Look
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.matrix.run_spec import CellKey, Setup


def differences(results: Results) -> list[Difference]:
    """Return every paired difference of the matrix, by family, dataset and setup; means over datasets last."""
    measured = [measure(contrast, results) for contrast in contrasts(results)]
    if isinstance(results.matrix.seeds, UntilSettled):
        levels = {each.contrast: each.level for each in headlines(results)}
        return [_judge_at_look(replace(each, level=levels.get(each.contrast)), results) for each in measured]
    families = [[d for d in measured if d.contrast.family == family] for family in QUESTIONS]
    asked = [own for own in families if any(d.contrast.headline and d.interval is not None for d in own)]
    found: list[Difference] = []
    for own in families:
        found += judge_in_order([*own, *_over_datasets(own, results)], SIGNIFICANCE / max(len(asked), 1))
    return found


def headlines(results: Results) -> list[Difference]:
    """Return the headlines of each dataset, whose seeds a rule decides on, with their parts of a report's error.

    Questions share it equally, then each question's comparisons, then a comparison's datasets. There are no means over
    datasets, which would have different numbers of seeds, and nothing below a headline is judged.
    """
    asked = [each for each in contrasts(results) if each.headline and not each.is_against_floor]
    names = {contrast: (contrast.family, contrast.setup, contrast.first, contrast.second) for contrast in asked}
    datasets = Counter(names.values())
    comparisons = Counter(family for family, *_ in datasets)
    shares = {
        contrast: SIGNIFICANCE / len(comparisons) / comparisons[contrast.family] / datasets[name]
        for contrast, name in names.items()
    }
    return [replace(measure(contrast, results), level=share) for contrast, share in shares.items()]


def look_at(difference: Difference, matrix: Matrix) -> Look | None:
    """Return the look at a headline after its seeds, or None before the first look.

    Args:
        difference: with its part of the probability of error, all looks together.
        matrix: whose rule says when looks are taken.
    """
    interval, seeds = difference.interval, matrix.seeds
    if not isinstance(seeds, UntilSettled) or difference.level is None or interval is None:
        return None
    if interval.seeds < seeds.at_least or interval.per_run is None or not interval.standard_error:
        return None
    return Look(interval, difference.margin, difference.level, seeds.at_least, len(seeds))


def _judge_at_look(difference: Difference, results: Results) -> Difference:
    """Return a difference with the levels of its look, its interval adjusted if its verdict ended the seeds.

    It did if there was none at the look before. Seeds after a verdict were not taken because of it.
    """
    look = look_at(difference, results.matrix)
    if look is None:
        return replace(difference, level=None)
    interval = look.interval
    if look.has_verdict:
        before = select_seeds(results, results.matrix.seeds[: interval.seeds - 1])
        last = look_at(replace(measure(difference.contrast, before), level=difference.level), results.matrix)
        if last is None or not last.is_settled:
            interval = look.adjusted()
    of_difference, of_equivalence = look.levels
    return replace(difference, interval=interval, level=of_difference, equivalence_level=of_equivalence)


def judge_in_order(own: Sequence[Difference], level: float) -> list[Difference]:
    """Return the differences of one question with the probabilities of error at which they are judged.

    The question's comparisons, each with its setup, share its level equally. A comparison's mean over datasets is
    judged first, or the headline of its only dataset. A row keeps half of what it is given, and once it has a verdict
    hands the other half on, in equal parts, to the rows below: to the headlines of its datasets, and from each of these
    to the dataset's other rows. A row with nothing below keeps all; below a row without a verdict nothing is judged.

    Rows against a floor row are below what else their policy is compared with.

    No difference and a difference of at least the margin cannot both be true, so a row tests both at its level, and
    what all rows keep adds up to at most the level: so is the probability of a wrong verdict anywhere. (The rows below
    do not get all of it, as in Goeman and Finos 2012, "The inheritance procedure: multiple testing of tree-structured
    hypotheses": a row that is shown to be equivalent may still be wrongly said to differ.)
    """
    trees: dict[tuple[Setup, str, str], list[int]] = {}
    for k, difference in enumerate(own):
        contrast = difference.contrast
        if not contrast.is_against_floor:
            trees.setdefault((contrast.setup, contrast.first, contrast.second), []).append(k)
    for k, difference in enumerate(own):
        contrast = difference.contrast
        if contrast.is_against_floor:
            of_policy = (rows for key, rows in trees.items() if key[:2] == (contrast.setup, contrast.first))
            next(of_policy, []).append(k)
    found = list(own)

    def judge(rows: Sequence[int], level: float, below: Callable[[int], Sequence[int]]) -> None:
        """Judge rows that share a level, and the rows below each that has a verdict."""
        for k in rows:
            given = level / len(rows)
            children = below(k)
            found[k] = replace(own[k], level=given / 2 if children else given)
            if children and found[k].has_verdict:
                judge(children, given / 2, others)

    for rows in trees.values():
        headlines = [k for k in rows if own[k].contrast.headline and not own[k].pooled]
        rest = [k for k in rows if not own[k].contrast.headline]

        def others(k: int, rest: Sequence[int] = rest) -> list[int]:
            return [j for j in rest if k not in rest and own[j].contrast.dataset == own[k].contrast.dataset]

        def datasets(_: int, headlines: Sequence[int] = headlines) -> Sequence[int]:
            return headlines

        top = [k for k in rows if own[k].pooled]
        judge(top or headlines, level / len(trees), datasets if top else others)
    return found


def judge_equally(own: Sequence[Difference]) -> list[Difference]:
    """Return differences that share a report's probability of error equally."""
    return [replace(difference, level=SIGNIFICANCE / len(own)) for difference in own]


NEAR_THE_CEILING = 0.99
"""Mean accuracy at which a cell has next to nothing left to show: a dataset all of whose compared cells reach it has no
part in a mean over datasets."""


def _over_datasets(own: Sequence[Difference], results: Results) -> list[Difference]:
    """Return the mean over datasets of each headline, if at least two have it.

    Generated controls and datasets of which every compared cell reaches `NEAR_THE_CEILING` are left out. If a matrix
    has several entries of a dataset, the one with the most training images is used, so that its test images count once.
    """
    largest: dict[str, str] = {}
    for entry in sorted(results.matrix.datasets, key=lambda entry: -(entry.limit or sys.maxsize)):
        largest.setdefault(entry.name, entry.title)
    groups: dict[tuple[Setup, str, str, str], list[Difference]] = {}
    for difference in own:
        contrast = difference.contrast
        counts = contrast.headline and contrast.dataset not in results.controls and contrast.dataset in largest.values()
        if counts and not _is_near_the_ceiling(contrast, results):
            key = (contrast.setup, contrast.first, contrast.second, contrast.context)
            groups.setdefault(key, []).append(difference)
    means = []
    for group in groups.values():
        intervals = [d.interval for d in group if d.interval is not None and d.interval.df is not None]
        if len(group) < 2 or len(intervals) < len(group):
            continue
        contrast = replace(
            group[0].contrast,
            dataset=f"mean of {len(group)} datasets",
            pairs=tuple(pair for difference in group for pair in difference.contrast.pairs),
        )
        fewest = min((difference.seeds for difference in group), key=len)
        asked, margin = group[0].asked, group[0].margin
        means.append(Difference(contrast, pool(intervals), fewest, asked, margin, pooled=tuple(group)))
    return means


def _is_near_the_ceiling(contrast: Contrast, results: Results) -> bool:
    keys = (key for pair in contrast.pairs for key in pair if isinstance(key, CellKey))
    accuracies = [results.by_key[key].accuracy for key in keys]
    return all(accuracy is not None and accuracy.mean >= NEAR_THE_CEILING for accuracy in accuracies)
