"""The answer in sentences, from the paired intervals, with what a verdict would take where they are inconclusive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmark.analysis.contrasts import QUESTIONS, Family
from benchmark.analysis.differences import Difference
from benchmark.analysis.looks import take
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, estimate_need
from benchmark.analysis.uncertainty.interval import SEEDS_FOR_A_VERDICT
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.matrix import UntilSettled
from benchmark.matrix.run_spec import Setup
from benchmark.records.plan import FAILURES
from benchmark.report.tables import cell_in_words, place_in_words
from benchmark.report.text import escape, margin_in_words, points_with_interval, with_interval
from benchmark.words import count, listed

INCONCLUSIVE = "inconclusive"

MOST_NAMED = 3
"""Datasets that a sentence of the answer names; for more it gives their number."""


def verdict(difference: Difference) -> str:
    """Return the verdict on a paired difference in a few words, or the reason why it is missing."""
    interval, contrast = difference.interval, difference.contrast
    if interval is None:
        return "not measured"
    if interval.half_width is None:
        return f"no verdict from one {'test image' if interval.groups is None else 'group of test images'}"
    if not interval.carries_a_verdict:
        return f"no verdict from {count(interval.seeds, 'seed')}"
    if difference.level is None:
        return "not judged"
    if difference.is_equivalent:
        return f"equivalent within {margin_in_words(difference.margin)}"
    if difference.sign:
        return f"{contrast.first if difference.sign > 0 else contrast.second} is better"
    return INCONCLUSIVE


def reading(difference: Difference) -> str:
    """Return the verdict, and what one would take where it is inconclusive."""
    found = verdict(difference)
    return f"{found}{describe_need(difference)}" if found == INCONCLUSIVE else found


def describe_need(difference: Difference) -> str:
    """Return what a verdict would take, as ``: about 12 seeds would tell``; empty if that is unknown."""
    need = (
        None
        if difference.interval is None
        else estimate_need(difference.interval, difference.margin, difference.level or SIGNIFICANCE)
    )
    if need is None:
        return ""
    if need.seeds is not None:
        return f": about {count(max(need.seeds, len(difference.seeds) + 1), 'seed')} would tell"
    if need.images is None:
        return ": no number of seeds or test images is enough, because folds share training images"
    return f": no number of seeds tells, about {_rounded(need.images):,} test images would"


def _rounded(number: int) -> int:
    """Return a number with two digits that count."""
    return int(float(f"{number:.1e}"))


def answer(results: Results, found: Sequence[Difference]) -> str:
    """Return the answers in a sentence for each question, and the highest means, Markdown.

    If runs are missing, it starts with the number of those that are done.
    """
    if not results.plan.done:
        return "No results yet: no run of this matrix is done."
    sentences = (_sentence(family, found, results) for family in _questions_asked(found))
    return "\n\n".join([*_count_done(results), *sentences, _highest(results)])


def _count_done(results: Results) -> list[str]:
    """Return a sentence with the number of done runs if any is missing, Markdown; preliminary if any was not tried."""
    runs, done = results.plan.runs, len(results.plan.done)
    if done == len(runs):
        return []
    is_preliminary = any(run.state not in ("done", *FAILURES) for run in runs)
    return [f"**{'Preliminary' if is_preliminary else 'Incomplete'}:** {done} of {count(len(runs), 'run')} are done."]


def current_differences(results: Results, found: Sequence[Difference]) -> str:
    """Return the measured differences that answer each question, one line per question; Markdown."""
    lines = []
    for question in _questions_asked(found):
        rows = [row for top in _tops(question, found) for row in top]
        said = [_measured(row, results) for row in rows if row.interval is not None]
        if said:
            lines.append(f"{QUESTIONS[question]} {'; '.join(said)}")
    return "\n".join(lines)


def _measured(row: Difference, results: Results) -> str:
    """Return ``a − b +2.1 ± 1.0 points on beans (3 seeds)``; Markdown."""
    assert row.interval is not None
    contrast = row.contrast
    compared = f"{escape(contrast.first)} − {escape(contrast.second)}"
    where = f"{'the ' if row.pooled else ''}{place_in_words(results, contrast.dataset, contrast.setup)}"
    return f"{compared} {points_with_interval(row.interval)} points on {where} ({count(len(row.seeds), 'seed')})"


def _questions_asked(found: Sequence[Difference]) -> list[Family]:
    """Return the questions with a headline, in the report's order."""
    return [family for family in QUESTIONS if any(d.contrast.family == family and d.contrast.headline for d in found)]


def _tops(question: Family, found: Sequence[Difference]) -> list[list[Difference]]:
    """Return what answers a question, for each of its comparisons: the mean over datasets, or else each dataset's."""
    trees: dict[tuple[Setup, str, str], list[Difference]] = {}
    for difference in found:
        contrast = difference.contrast
        if contrast.family == question and contrast.headline:
            trees.setdefault((contrast.setup, contrast.first, contrast.second), []).append(difference)
    return [[row for row in rows if row.pooled] or rows for rows in trees.values()]


_UNGROUPED = (
    "Its intervals, p-values and verdicts, and those of means over datasets, assume independent images: the intervals "
    "are too narrow."
)


def cautions(results: Results) -> str:
    """Return the caution that a dataset with done runs needs, or of several the names of their datasets; Markdown."""
    found = _cautions(results)
    if len(found) < 2:
        return "".join(found)
    names = listed([name for names in found.values() for name in names])
    narrow = [name for text, names in found.items() if text.endswith(_UNGROUPED) for name in names]
    but = f"; the intervals of {listed(narrow)} are too narrow" if narrow else ""
    return f"**Read with care:** {names}{but} ([the answer in detail](#the-answer-in-detail))."


def _cautions(results: Results) -> dict[str, list[str]]:
    """Return each caution, a paragraph, with its datasets; Markdown."""
    by_text: dict[str, list[str]] = {}
    for entry in results.matrix.datasets:
        known = not entry.is_folder and results.done_cells(entry.title)
        if known and (caution := CATALOGUE[entry.name].caution):
            groups = results.test_groups(entry.title)
            units = _UNGROUPED if groups is None else f"Its intervals have {count(groups, 'group')} as units."
            by_text.setdefault(f"{caution} {units}", []).append(escape(entry.title))
    return {f"**Read with care, {listed(titles)}:** {text}": titles for text, titles in by_text.items()}


def _sentence(question: Family, found: Sequence[Difference], results: Results) -> str:
    """Return one sentence on a question: each comparison over all its datasets, or where that is not judged on each."""
    parts: dict[str, None] = {}
    for top in sorted(_tops(question, found), key=lambda top: not any(row.has_verdict for row in top)):
        if len(top) <= MOST_NAMED:
            parts |= dict.fromkeys(_answered(row, results) for row in top)
            continue
        counted = Counter(verdict(row) for row in top)
        said = [f"{words} on {number} of {len(top)}" for words, number in counted.items()]
        parts[f"{top[0].contrast.first} against {top[0].contrast.second}: {listed(said)}"] = None
    return f"**{QUESTIONS[question]}** {'; '.join(parts)}."


def _answered(row: Difference, results: Results) -> str:
    """Return ``a is better than b by 2.1 ± 1.0 points on beans``, or what else is known; Markdown."""
    contrast, interval = row.contrast, row.interval
    first, second = escape(contrast.first), escape(contrast.second)
    where = place_in_words(results, contrast.dataset, contrast.setup)
    where = f"the {where}" if row.pooled else where
    if interval is None:
        return f"{first} against {second} on {where}: {verdict(row)}"
    points = points_with_interval(interval)
    if row.is_equivalent:
        return f"{first} and {second} are {verdict(row)} on {where} ({points})"
    if row.sign:
        better, other = (first, second) if row.sign > 0 else (second, first)
        return f"{better} is better than {other} by {points.lstrip('+−')} points on {where}"
    return f"{first} against {second} on {where} ({points}): {reading(row)}"


def _highest(results: Results) -> str:
    """Return the sentence on the highest means."""
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
    return f"**Highest test accuracy:** {'; '.join(said)}."


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
    if len(said := _cautions(results)) > 1:
        lines += [f"- {text}" for text in said]
    below = "what answers a question is judged first, and rows below it only where it has a verdict (else *not judged*)"
    if isinstance(results.matrix.seeds, UntilSettled):
        lines.append(_seeds_taken(results, results.matrix.seeds))
        below = "and what answers a question alone is judged (else *not judged*), over all looks together"
    lines.append(
        "- Differences are percent points of test accuracy ± half-width of the 95 % interval. At most 5 % of such "
        f"reports have a wrong verdict on any question: the questions share that equally, {below}. *Inconclusive* does "
        "not mean that the two are equal: the difference may be as large as the interval's ends. Seeds, or test "
        "images, *would tell* that show such a difference, or equivalence if it is within the margin, in 80 % of "
        f"repetitions. Below {SEEDS_FOR_A_VERDICT} seeds no verdict is given. The highest of several means is biased "
        "upwards; use the paired differences to compare cells."
    )
    return "\n".join(lines)


def _seeds_taken(results: Results, seeds: UntilSettled) -> str:
    """Return how many seeds each dataset took, and the rule, Markdown."""
    taken = []
    for dataset, looks in take(results).items():
        state = "settled" if looks[-1].is_settled else "open"
        taken.append(f"{escape(dataset)} is {state} after {count(looks[-1].seeds, 'seed')}")
    return (
        f"- Each dataset takes {seeds.at_least} seeds, and one more at a time, at most {len(seeds)}, until each of its "
        "questions has a verdict or is unlikely to get one from so many: "
        f"{listed(taken) or 'none has been looked at'}. Every look is in [looks.json](looks.json). Looks share the "
        "probability of error by the spending function of Lan and DeMets (1983) of O'Brien and Fleming's type; an "
        "interval whose verdict ended the seeds is adjusted as by Emerson and Fleming (1990). There is no mean over "
        "datasets, whose numbers of seeds differ."
    )


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
            compared.setdefault(what, {}).setdefault(verdict(difference), []).append(where)
    return compared


def families_in(found: Sequence[Difference]) -> list[Family]:
    """Return the questions of a matrix, in the report's order."""
    asked = {difference.contrast.family for difference in found}
    return [family for family in QUESTIONS if family in asked]
