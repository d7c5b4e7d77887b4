"""Published claims and figures beside what was measured, and a recommendation for each dataset, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmark.analysis.choice import candidates, winners
from benchmark.analysis.claims import Judged, JudgedClaim, Verdict, judge
from benchmark.analysis.differences import Difference, paired_values
from benchmark.analysis.folds import mean_difference
from benchmark.analysis.inference import smallest_visible
from benchmark.analysis.interval import SEEDS_FOR_A_VERDICT
from benchmark.analysis.published import Metric, Source
from benchmark.analysis.published_figures import Compared, compare
from benchmark.analysis.results import Cell, Results
from benchmark.inputs import INPUT_MODES
from benchmark.report.text import (
    count,
    escape,
    listed,
    margin_in_words,
    percent,
    points_with_interval,
    shown,
    table,
    with_interval,
)
from benchmark.report.times import mean_time

ORDER: tuple[Verdict, ...] = ("supported", "contradicted", "undecided", "not run")


LEGEND = (
    "The choice is made on validation, among {cells} with all their seeds. In brackets: its lead over the other "
    "cell in percent points of test accuracy with the 95 % interval, not corrected for the number of cells, and the "
    "other cell's training time (at most: every run of it waited for a processor). One matrix cannot tell about other "
    "models, resolutions or learning rates."
)


def published(sources: Sequence[Source], found: Sequence[Difference], results: Results) -> str:
    """Return the sources that the matrix touches: claims with their verdicts, figures beside ours, Markdown.

    Empty where it holds no comparison and no cell of any source.
    """
    touched: list[str] = []
    judges = False
    for source in sources:
        judged, compared = judge(source.claims, found, results), compare(source, results)
        holds = any(item.comparisons for item in judged)
        judges |= holds
        if compared or holds:
            several = len(results.matrix.models) > 1
            touched += [f"Source: {escape(source.source)}", *_claims(judged, several), *_figures(source, compared)]
    return "\n\n".join([*([_legend(results)] if judges else []), *touched])


def _legend(results: Results) -> str:
    margin = results.matrix.equivalence_margin / 100
    return (
        "Supported: the claimed side is better after Holm's correction. Contradicted: the other side is, or the two "
        f"are shown to differ by less than {margin_in_words(margin)}. Undecided: neither; then the smallest true "
        "difference that this matrix would have shown with 80 % power stands beside it."
    )


def _claims(judged: Sequence[JudgedClaim], several: bool) -> Iterator[str]:
    for item in judged:
        text = escape(item.claim.text)
        if not item.comparisons:
            yield f"**{text}**: not run, this matrix does not hold the comparison."
            continue
        counted = Counter(comparison.verdict for comparison in item.comparisons)
        summary = listed([f"{word} in {counted[word]}" for word in ORDER if counted[word]])
        yield f"**{text}**: {summary} of {count(len(item.comparisons), 'comparison')}."
        yield _table(item.comparisons, several)


METRICS: dict[Metric, tuple[str, float, int]] = {
    "last_epoch_test_accuracy": ("last epoch's test accuracy, %", 0.01, 1),
    "last_epoch_train_loss": ("last epoch's training loss", 1.0, 3),
}
"""What stands in the table: the metric's name with its unit, the unit, decimals."""


def _figures(source: Source, compared: Sequence[Compared]) -> Iterator[str]:
    if not compared:
        return
    rows = []
    for item in compared:
        figure = item.figure
        name, unit, decimals = METRICS[figure.metric]
        words = {True: "within", False: "outside", None: "too few seeds" if item.values else "not run"}
        word = words[item.within] if item.as_published else "not run: this matrix trains otherwise"
        half_width = "" if item.half_width is None else f"± {shown(item.half_width, unit, decimals)}"
        numbers = [
            shown(figure.value, unit, decimals),
            shown(item.ours, unit, decimals),
            shown(item.difference, unit, decimals, sign=True),
            half_width,
            f"{len(item.values)} of {item.asked}",
        ]
        rows.append(
            [*(escape(text) for text in (figure.dataset, figure.input_mode, figure.policy, name)), *numbers, word]
        )
    header = [
        "dataset",
        "input mode",
        "policy",
        "figure",
        "theirs",
        "ours",
        "ours − theirs",
        "interval",
        "seeds",
        "theirs is",
    ]
    yield (
        "Published figures, each of one run, beside the mean of ours. The interval around ours is the 95 % prediction "
        "interval of one more run with another seed on the same test images."
    )
    yield table(header, rows, left=4)
    if source.not_compared:
        yield "Not compared: " + "; ".join(escape(text) for text in source.not_compared) + "."
    if source.differs:
        yield "What differs in the set-up:\n\n" + "\n".join(f"- {escape(text)}." for text in source.differs)


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
        measured = "" if interval is None else points_with_interval(interval)
        rows.append([*(escape(text) for text in [*names, contrast.context, word]), said, measured])
    return table(header, rows, left=len(header) - 1)


def recommendations(results: Results) -> str:
    """Return, for each dataset with a done run, which grey mode and policy to take, and what cannot be told apart."""
    lines = [_recommendation(dataset, results) for dataset in results.datasets if dataset not in results.controls]
    if not any(lines):
        return "None: no grey cell is measured on real images."
    competing = [cell for dataset in results.datasets for cell in candidates(dataset, results)]
    legend = LEGEND.format(cells="the grey cells" if _all_grey(competing) else "the cells")
    return "\n".join([*(line for line in lines if line), "", legend])


def _all_grey(cells: Sequence[Cell]) -> bool:
    return all(INPUT_MODES[cell.key[1]].grey for cell in cells)


def _recommendation(dataset: str, results: Results) -> str:
    """Return one item: the cell of the best validation accuracy, and the cheaper cells that it does not beat."""
    asked = candidates(dataset, results)
    what = "grey cell" if _all_grey(asked) else "cell"
    complete = [cell for cell in asked if len(cell.seeds) == len(cell.asked)]
    if not complete:
        return f"- **{escape(dataset)}**: none, no {what} has all its seeds." if any(c.records for c in asked) else ""
    among = f"the {len(asked)} {what}s"
    if len(complete) < len(asked):
        among = f"the {len(complete)} {what}s of {len(asked)} that have all their seeds"
    highest = winners(dataset, results)
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
        values, _, groups = paired_values([(chosen, other)])
        interval = mean_difference(values, chosen.folds, groups=groups)
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
    seconds = mean_time(cell, "train_seconds")
    if seconds is None:
        return ""
    return f", {'at most ' if seconds.bound else ''}{seconds.value:.0f} s of training"
