"""The published claims with their verdicts, and a recommendation for each dataset, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmark.analysis.claims import Judged, Source, Verdict, judge
from benchmark.analysis.differences import Difference, paired_values
from benchmark.analysis.folds import mean_difference
from benchmark.analysis.inference import smallest_visible
from benchmark.analysis.interval import SEEDS_FOR_A_VERDICT
from benchmark.analysis.results import Cell, Results
from benchmark.inputs import INPUT_MODES
from benchmark.report.tables import mean_of
from benchmark.report.text import (
    count,
    escape,
    listed,
    margin_in_words,
    percent,
    points_with_interval,
    table,
    with_interval,
)

ORDER: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not run")


LEGEND = (
    "The choice is made on validation, among the grey cells with all their seeds. In brackets: its lead over the other "
    "cell in percent points of test accuracy with the 95 % interval, not corrected for the number of cells, and the "
    "other cell's training time. One matrix cannot tell about other models, resolutions or learning rates."
)


def claims(sources: Sequence[Source], found: Sequence[Difference], results: Results) -> str:
    """Return each source's claims with their verdicts, Markdown."""
    margin = results.matrix.equivalence_margin / 100
    parts = [
        "Supported: the claimed side is better after Holm's correction. Contradicted: the other side is, or the two "
        f"are shown to differ by less than {margin_in_words(margin)}. Undecided: neither; then the smallest true "
        "difference that this matrix would have shown with 80 % power stands beside it."
    ]
    for source in sources:
        parts.append(f"Source: {escape(source.source)}")
        for claim in source.claims:
            verdicts = judge(claim, found, results)
            if not verdicts:
                parts.append(f"**{escape(claim.text)}**: not run, this matrix does not hold the comparison.")
                continue
            counted = Counter(item.verdict for item in verdicts)
            summary = listed([f"{word} in {counted[word]}" for word in ORDER if counted[word]])
            parts.append(f"**{escape(claim.text)}**: {summary} of {count(len(verdicts), 'comparison')}.")
            parts.append(_table(verdicts, several=len(results.matrix.models) > 1))
    return "\n\n".join(parts)


def _table(verdicts: Sequence[Judged], several: bool) -> str:
    header = ["dataset", *(["model"] if several else []), "comparison", "in", "verdict", "said by the source", "points"]
    rows = []
    for item in verdicts:
        contrast, interval = item.difference.contrast, item.difference.interval
        names = [contrast.dataset, *([contrast.model] if several else []), f"{contrast.first} − {contrast.second}"]
        word: str = item.verdict
        visible = None if interval is None else smallest_visible(interval)
        if word == "undecided":
            word += " (too few seeds)" if visible is None else f" (visible: {percent(visible)})"
        said = "yes" if item.by_the_source else "no"
        shown = "" if interval is None else points_with_interval(interval)
        rows.append([*(escape(text) for text in [*names, contrast.context, word]), said, shown])
    return table(header, rows, left=len(header) - 1)


def recommendations(results: Results) -> str:
    """Return, for each dataset with a done run, which grey mode and policy to take, and what cannot be told apart."""
    lines = [_recommendation(dataset, results) for dataset in results.datasets if dataset not in results.controls]
    if not any(lines):
        return "None: no grey cell is measured on real images."
    return "\n".join([*(line for line in lines if line), "", LEGEND])


def _recommendation(dataset: str, results: Results) -> str:
    """Return one item: the grey cell of the best validation accuracy, and the cheaper cells that it does not beat.

    The choice is made on validation, not on the test accuracies shown beside it, which are therefore not flattered.
    """
    grey = [c for c in results.cells.values() if c.key[0] == dataset and INPUT_MODES[c.key[1]].grey]
    complete = [cell for cell in grey if len(cell.seeds) == len(cell.asked)]
    if not complete:
        return f"- **{escape(dataset)}**: none, no grey cell has all its seeds." if any(c.records for c in grey) else ""
    among = f"the {len(grey)} grey cells"
    if len(complete) < len(grey):
        among = f"the {len(complete)} grey cells of {len(grey)} that have all their seeds"
    validation = [mean_of(cell, "validation.accuracy") or 0.0 for cell in complete]
    highest = [cell for cell, mean in zip(complete, validation, strict=True) if mean == max(validation)]
    chosen = highest[0]
    assert chosen.accuracy is not None
    text = (
        f"- **{escape(dataset)}**: {_named(chosen, results)}, {with_interval(chosen.accuracy)} % on test"
        f"{_seconds(chosen)}. It has the highest validation accuracy of {among}"
    )
    text += f", shared with {listed([_named(cell, results) for cell in highest[1:]])}." if highest[1:] else "."
    if len(chosen.seeds) < SEEDS_FOR_A_VERDICT:
        return f"{text} From {count(len(chosen.seeds), 'seed')} this is no more than a first impression."
    beaten: list[str] = []
    even: list[str] = []
    better: list[str] = []
    for other in complete:
        if other is chosen:
            continue
        values, _ = paired_values([(chosen, other)])
        interval = mean_difference(values, chosen.folds)
        described = f"{_named(other, results)} ({points_with_interval(interval)}{_seconds(other)})"
        {1: beaten, 0: even, -1: better}[interval.sign].append(described)
    if beaten:
        text += f" On test it is ahead of {listed(beaten)}."
    if even:
        text += f" It cannot be told apart from {listed(even)}: where one of them is cheaper, take it."
    if better:
        text += f" Test contradicts validation: it is behind {listed(better)}."
    return text


def _named(cell: Cell, results: Results) -> str:
    _, mode, policy, model = cell.key
    return f"{mode} with {policy}" + (f" ({escape(model)})" if len(results.matrix.models) > 1 else "")


def _seconds(cell: Cell) -> str:
    seconds = mean_of(cell, "timing.train_seconds")
    return "" if seconds is None else f", {seconds:.0f} s of training"
