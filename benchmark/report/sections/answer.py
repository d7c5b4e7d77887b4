"""The answer in sentences, from the paired intervals, with a caution where they are inconclusive."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.differences import QUESTIONS, Difference, Family
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.interval import SEEDS_FOR_A_VERDICT
from benchmark.data.catalogue import CATALOGUE
from benchmark.report.tables import cell_in_words, place_in_words
from benchmark.report.text import escape, margin_in_words, points_with_interval, with_interval
from benchmark.words import count, listed

INCONCLUSIVE = "inconclusive"

MOST_NAMED = 3
"""Datasets that a sentence of the answer names; for more it gives their number."""


def reading(difference: Difference) -> str:
    """Return the reading of a paired difference: the side that is better, or why no verdict is given."""
    interval, contrast = difference.interval, difference.contrast
    if interval is None:
        return "not measured"
    if interval.half_width is None:
        return f"no verdict from one {'test image' if interval.groups is None else 'group of test images'}"
    if not interval.carries_a_verdict:
        return f"no verdict from {count(interval.seeds, 'seed')}"
    if difference.sign:
        return f"{contrast.first if difference.sign > 0 else contrast.second} is better"
    if interval.sign:
        return f"{INCONCLUSIVE} after Holm's correction"
    if difference.is_equivalent:
        return f"no difference beyond {margin_in_words(difference.margin)}"
    return INCONCLUSIVE


def answer(results: Results, found: Sequence[Difference]) -> str:
    """Return the answer in at most three sentences, Markdown: pretraining, the grey channels, the highest means."""
    if not results.plan.done:
        return "No results yet: no run of this matrix is done."
    asked = [family for family in QUESTIONS if any(d.contrast.family == family and d.contrast.headline for d in found)]
    return "\n\n".join([*(_sentence(family, found, results) for family in asked[:2]), _highest(results)])


_UNGROUPED = (
    "Its intervals, p-values and verdicts, and those of means over datasets, assume independent images: the intervals "
    "are too narrow."
)


def cautions(results: Results) -> str:
    """Return a caution for each dataset with done runs whose images are known to depend on each other; Markdown."""
    by_text: dict[str, list[str]] = {}
    for entry in results.matrix.datasets:
        known = not entry.is_folder and results.done_cells(entry.title)
        if known and (caution := CATALOGUE[entry.name].caution):
            groups = results.test_groups(entry.title)
            units = _UNGROUPED if groups is None else f"Its intervals have {count(groups, 'group')} as units."
            by_text.setdefault(f"{caution} {units}", []).append(entry.title)
    return "\n\n".join(f"**Read with care, {escape(listed(titles))}:** {text}" for text, titles in by_text.items())


def _sentence(question: Family, found: Sequence[Difference], results: Results) -> str:
    """Return one sentence on a question: each comparison with its reading and the datasets."""
    parts = []
    for what, shows in _by_comparison(question, found, results).items():
        number = sum(len(places) for places in shows.values())
        said = [
            f"{shown} on {listed(places) if number <= MOST_NAMED else f'{len(places)} of {number}'}"
            for shown, places in shows.items()
        ]
        parts.append(f"{what.partition(' (')[0]}: {', '.join(said)}")
    return f"**{QUESTIONS[question]}** {'; '.join(parts)}."


def _highest(results: Results) -> str:
    """Return the sentence on the highest means, with the number of missing runs."""
    best = {dataset: keys for dataset in results.datasets if (keys := results.best(dataset))}
    named = len(best) <= MOST_NAMED
    parts: dict[str, list[str]] = {}
    for dataset, keys in best.items():
        cells = [cell_in_words(results, key) for key in keys]
        interval = results.by_key[keys[0]].accuracy
        assert interval is not None
        if named:
            parts[f"on {escape(dataset)} {listed(cells)} ({with_interval(interval)} %)"] = []
        else:
            parts.setdefault(listed(cells), []).append(dataset)
    said = [cells + (f" on {len(of)} of {len(best)}" if of else "") for cells, of in parts.items()]
    missing = sum(number for state, number in results.plan.counts().items() if state != "done")
    but = f", but {missing} of {count(len(results.plan.runs), 'run')} are not done" if missing else ""
    return f"**Highest test accuracy:** {'; '.join(said)}{but}."


def details(results: Results, found: Sequence[Difference]) -> str:
    """Return the details of the answer as a Markdown list: one item per question, its datasets grouped by reading.

    A comparison is a sentence like ``a − b (mean of x and y): a is better on d (+3.0 ± 1.0).``
    """
    if not results.plan.done:
        return ""
    lines = []
    for family in families_in(found):
        sentences = [
            f"{what}: {'; '.join(f'{shown} on {listed(places)}' for shown, places in shows.items())}."
            for what, shows in _by_comparison(family, found, results).items()
        ]
        if sentences:
            lines.append(f"- **{QUESTIONS[family]}** {' '.join(sentences)}")
    lines.append(
        "- Differences are percent points of test accuracy ± half-width of the 95 % interval. *Better* holds after "
        "Holm's correction for the number of comparisons that answer a question. *Inconclusive* does not mean that "
        "the two are equal: the difference may be as large as the interval's ends. "
        f"Below {SEEDS_FOR_A_VERDICT} seeds no verdict is given. The highest of several means is biased upwards; use "
        "the paired differences to compare cells."
    )
    return "\n".join(lines)


def _by_comparison(question: Family, found: Sequence[Difference], results: Results) -> dict[str, dict[str, list[str]]]:
    """Return the headlines of a question: comparison -> reading -> datasets with their differences."""
    compared: dict[str, dict[str, list[str]]] = {}
    for difference in found:
        contrast = difference.contrast
        if contrast.family == question and contrast.headline:
            what = f"{contrast.first} − {contrast.second} ({contrast.context})"
            where = place_in_words(results, contrast.dataset, contrast.setup)
            if difference.interval is not None:
                where += f" ({points_with_interval(difference.interval)})"
            compared.setdefault(what, {}).setdefault(reading(difference), []).append(where)
    return compared


def families_in(found: Sequence[Difference]) -> list[Family]:
    """Return the questions of a matrix, in the report's order."""
    asked = {difference.contrast.family for difference in found}
    return [family for family in QUESTIONS if family in asked]
