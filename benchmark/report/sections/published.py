"""Published claims and figures compared with the results, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from benchmark.analysis.differences import Difference
from benchmark.analysis.published import (
    Claim,
    ComparedFigure,
    JudgedClaim,
    Metric,
    PolicyClaim,
    Source,
    Verdict,
    compare,
    judge,
    overall_verdict,
)
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.inference import smallest_visible
from benchmark.matrix.run_spec import Setup
from benchmark.report import tables
from benchmark.report.text import escape, format_value, margin_in_words, percent, points_with_interval
from benchmark.words import count, listed

METRICS: dict[Metric, tuple[str, float, int]] = {
    "accuracy": ("test accuracy, %", 0.01, 1),
    "roc_auc": ("ROC AUC, %", 0.01, 1),
    "last_epoch_test_accuracy": ("last epoch's test accuracy, %", 0.01, 1),
    "last_epoch_train_loss": ("last epoch's training loss", 1.0, 3),
}
"""Metric -> (name with unit, unit, decimals)."""


def published(sources: Sequence[Source], found: Sequence[Difference], results: Results) -> str:
    """Return the sources that the matrix can be compared with: claims with verdicts, figures next to ours.

    Empty if the matrix has neither a comparison nor a cell of any source.
    """
    parts: list[str] = []
    judges = False
    for source in sources:
        judged, compared = judge(source.claims, found, results), compare(source, results)
        holds = any(judged.values())
        judges |= holds
        if compared or holds:
            own = [*_claims(judged, results), *_figures(source, compared, results)]
            parts += [f"Source: {escape(source.source)}", *own]
    return "\n\n".join([*([_legend(results)] if judges else []), *parts])


def _legend(results: Results) -> str:
    margin = results.matrix.equivalence_margin / 100
    return (
        "Supported: the claimed side is shown to be better. Contradicted: the other side is, or the two are shown to "
        f"differ by less than {margin_in_words(margin)}. Undecided: neither; in brackets the smallest true difference "
        "that this matrix would have shown with 80 % power. The comparisons of policies that a source's claims need "
        "share 5 % of wrong verdicts. A policy said to be better than others is "
        "supported if each comparison is, and contradicted if one is."
    )


def _claims(judged: Mapping[Claim, Sequence[JudgedClaim]], results: Results) -> Iterator[str]:
    for claim, comparisons in judged.items():
        text = escape(claim.text)
        if not comparisons:
            yield f"**{text}**: not tested, this matrix does not have the comparison."
            continue
        counted = Counter(comparison.verdict for comparison in comparisons)
        verdicts = listed([f"{word} in {counted[word]}" for word in get_args(Verdict) if counted[word]])
        summary = f"{verdicts} of {count(len(comparisons), 'comparison')}"
        if isinstance(claim, PolicyClaim) and len(comparisons) > 1:
            summary = f"{_overall(comparisons, results)} ({summary})"
        yield f"**{text}**: {summary}."
        yield tables.table_of([_comparison(each, results) for each in comparisons], right=1)


def _overall(comparisons: Sequence[JudgedClaim], results: Results) -> str:
    """Return the verdict on a claim about policies, for each setup; Markdown."""
    by_setup: dict[Setup, list[JudgedClaim]] = {}
    for each in comparisons:
        by_setup.setdefault(each.difference.contrast.setup, []).append(each)
    return escape(", ".join(results.matrix.add_setup(overall_verdict(own), setup) for setup, own in by_setup.items()))


def _comparison(judged: JudgedClaim, results: Results) -> dict[str, str]:
    contrast, interval = judged.difference.contrast, judged.difference.interval
    verdict: str = judged.verdict
    if verdict == "undecided":
        visible = None if interval is None else smallest_visible(interval)
        verdict += " (too few seeds)" if visible is None else f" (visible: {percent(visible)})"
    return tables.place(
        results,
        contrast.dataset,
        contrast.setup,
        comparison=f"{contrast.first} − {contrast.second}",
        **{"in": contrast.context},
        verdict=verdict,
        said_by_the_source="yes" if judged.by_the_source else "no",
        points="" if interval is None else points_with_interval(interval),
    )


def _figures(source: Source, compared: Sequence[ComparedFigure], results: Results) -> Iterator[str]:
    if not compared:
        return
    yield (
        "Published figures, of one run or the mean of several, next to our mean. The interval around it is the "
        "95 % prediction interval of the mean of as many runs as theirs with other seeds on the same test images."
    )
    yield tables.table_of([_figure(item, results) for item in compared], right=7)
    if source.not_compared:
        yield "Not compared: " + "; ".join(escape(text) for text in source.not_compared) + "."
    if source.differs:
        yield "What differs in the set-up:\n\n" + "\n".join(f"- {escape(text)}." for text in source.differs)


def _figure(item: ComparedFigure, results: Results) -> dict[str, str]:
    figure, key = item.figure, item.key
    name, unit, decimals = METRICS[figure.metric]
    spread = "" if figure.sd is None else f" ± {format_value(figure.sd, unit, decimals)}"
    words = {True: "within", False: "outside", None: "too few seeds" if item.values else "not run"}
    return tables.cell_columns(results, key) | {
        "figure": escape(name),
        "theirs": format_value(figure.value, unit, decimals) + spread,
        "their runs": str(figure.runs),
        "ours": format_value(item.ours, unit, decimals),
        "ours − theirs": format_value(item.difference, unit, decimals, sign=True),
        "interval": "" if item.half_width is None else f"± {format_value(item.half_width, unit, decimals)}",
        "seeds": f"{len(item.values)} of {item.asked}",
        "theirs is": words[item.is_within] if item.as_published else "not run: this matrix trains differently",
    }
