"""report.md: the answer first, then the numbers, then the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.analysis.differences import QUESTIONS, Contrast, Difference
from benchmark.analysis.published import Source
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.inference import smallest_visible
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.report import tables
from benchmark.report.figures.charts import describe_drawn
from benchmark.report.figures.images import explain_missing
from benchmark.report.figures.picture import Picture, Section
from benchmark.report.sections import method
from benchmark.report.sections.answer import answer, cautions, details, families_in, reading
from benchmark.report.sections.costs import costs
from benchmark.report.sections.published import published
from benchmark.report.sections.recommendation import recommendations
from benchmark.report.sections.scores import other_scores, recall_tables, score_differences_table
from benchmark.report.text import escape, margin_in_words, p_text, percent, points_with_interval, table
from benchmark.words import count


def markdown(
    results: Results,
    found: Sequence[Difference],
    scores: Mapping[Contrast, Mapping[str, Interval]],
    figures: Sequence[Picture],
    sources: Sequence[Source],
) -> str:
    """Return the complete report as GitHub's Markdown."""
    done = bool(results.plan.done)

    def figures_of(*sections: Section) -> list[str]:
        return [_figure(picture) for picture in figures if picture.section in sections]

    parts = [
        f"# Greyscale transfer benchmark: {escape(results.matrix.name)}",
        _damaged(results),
        "## The answer",
        answer(results, found),
        cautions(results),
        *(["### Recommendation", recommendations(results)] if done else []),
        "### In detail",
        details(results, found),
        "## Runs",
        _ledger(results),
        "## How it was measured, in short",
        method.summary(results),
        "## Test accuracy",
        _comparison(results),
        *figures_of("accuracy"),
        "## Paired differences",
        *figures_of("differences"),
        _differences(results, found),
    ]
    if done:
        parts += [
            *("## Learning curves", *figures_of("curves"), describe_drawn(results)),
            *("## Accuracy against cost", *figures_of("cost"), costs(results)),
            *("## Confusion", *figures_of("confusion"), "### Recall by class", recall_tables(results)),
            *("## Other scores", other_scores(results)),
            *(["### Differences in other scores", text] if (text := score_differences_table(scores, results)) else []),
            *("## What the network sees", *figures_of("modes"), explain_missing(results, figures, "modes")),
            *("## The hardest test images", *figures_of("hardest"), explain_missing(results, figures, "hardest")),
        ]
    if text := published(sources, found, results):
        parts += ["## Published claims and figures", text]
    parts += [
        "## How it was measured",
        method.protocol(results),
        "### Settings",
        'The article is C. Hughes, "Transfer Learning on Greyscale Images: How to Fine-Tune Pretrained Models on '
        'Black-and-White Datasets" (2022). Its script is not available; what it does not state is our choice.',
        method.settings(results.matrix),
    ]
    if done:
        parts += [
            "### Images",
            method.datasets(results),
            "### Environment",
            method.machine(results.plan.done),
            "### Flags",
            method.flags(results.plan.done),
        ]
    parts += ["## How to reproduce", _reproduce(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _damaged(results: Results) -> str:
    """Return a warning, before any number, that names the records that could not be read."""
    names = [f"`records/{item.path.name}`" for item in results.plan.damaged]
    if not names:
        return ""
    return f"**{count(len(names), 'damaged record')}, left out of every number below:** {', '.join(names)} (see Runs)."


def _ledger(results: Results) -> str:
    parts = [f"{count(len(results.plan.runs), 'run')} asked for: {tables.ledger(results)}."]
    if results.plan.foreign:
        ids = ", ".join(f"`{run_id}`" for run_id in results.plan.foreign)
        parts.append(f"Records that do not belong to this matrix, left out: {ids}.")
    if results.plan.damaged:
        files = "\n".join(f"- `records/{item.path.name}`: {escape(item.reason)}" for item in results.plan.damaged)
        parts.append(f"Damaged records, left out; delete them and run the matrix again:\n\n{files}")
    wrong = [
        f"- {escape(str(run.spec))} (`{run.spec.id}`): {run.state}{_reason(run.record.reason)}"
        for run in results.plan.runs
        if run.record is not None and run.state != "done"
    ]
    return "\n\n".join([*parts, *(["\n".join(wrong)] if wrong else [])])


def _reason(reason: str | None) -> str:
    return f", {escape(reason)}" if reason else ""


def _comparison(results: Results) -> str:
    header, rows = tables.comparison(results)
    names = len(header) - len(results.matrix.policies)
    shown = [[*(escape(text) for text in row[:names]), *(_emphasised(text) for text in row[names:])] for row in rows]
    seeds = count(len(results.matrix.seeds), "seed")
    note = (
        f"Accuracy on the test split in percent: mean over {seeds}, in brackets the 95 % interval. "
        f"{tables.BEST} is the dataset's highest mean. n: seeds done, if fewer than asked. More columns: "
        "[table.csv](table.csv). Each figure of this report is in `figures/` as PNG and as SVG."
    )
    if results.repeated:
        note += (
            " = MODE: the same training as in that mode by construction (same parameters, same start, same function of "
            "them), so it is shown once and does not count as more evidence."
        )
    return f"{table(header, shown, left=names)}\n\n{note}"


def _emphasised(text: str) -> str:
    return f"**{escape(text)}**" if text.endswith(tables.BEST) else escape(text)


def _differences(results: Results, found: Sequence[Difference]) -> str:
    parts = []
    for family in families_in(found):
        rows, unmeasured = [], 0
        for difference in (d for d in found if d.contrast.family == family):
            contrast, interval = difference.contrast, difference.interval
            if interval is None:
                unmeasured += 1
                continue
            visible = smallest_visible(interval)
            row = tables.comparison_columns(results, contrast) | {
                "points": points_with_interval(interval),
                "p (Holm)": p_text(difference.adjusted_p),
                "visible": "" if visible is None else percent(visible),
                "seeds": f"{len(difference.seeds)} of {difference.asked}",
                "reading": reading(difference),
            }
            bold = "**" if contrast.headline else ""
            rows.append({title: f"{bold}{text}{bold}" if text else "" for title, text in row.items()})
        body = [tables.table_of(rows, right=5)] if rows else []
        if unmeasured:
            body.append(f"{count(unmeasured, 'comparison')} not measured: no seed is done on both sides.")
        parts.append("\n\n".join([f"### {QUESTIONS[family]}", *body]))
    if not parts:
        return "This matrix has none of the four comparisons."
    margin = margin_in_words(found[0].margin)
    note = (
        "First minus second, in percent points of test accuracy ± half-width of the 95 % interval, on the same seeds "
        "and the same images. Bold: the rows that answer the question; their p-values are corrected (Holm) among "
        "themselves, those of the other rows among all rows of the question. Visible: the smallest true difference "
        f"(points) that this comparison would have shown with 80 % power. *No difference beyond {margin}*: shown by "
        "two one-sided tests at 5 % (the margin is the matrix's `equivalence_margin`). A mean of datasets gives each "
        "the same weight and leaves out generated controls. More columns: [differences.csv](differences.csv)."
    )
    return "\n\n".join([note, *parts])


def _figure(picture: Picture) -> str:
    title = escape(picture.title)
    return f"**{title}**\n\n![{title}](figures/{picture.name}.png)\n\n{picture.caption}"


def _reproduce(results: Results) -> str:
    name = results.matrix.name
    return (
        "```\n"
        f"python -m benchmark run --matrix results/{name}/matrix.yaml    # only missing runs\n"
        f"python -m benchmark report {name}    # rebuild this file from the records\n"
        f"python -m benchmark report --check {name}    # exit code 1 if this file differs from them\n"
        "```\n\n"
        "Datasets that do not come with a package are read from `--data-dir`. With the same kind of processor "
        "and the same versions a run gives the same weights, bit for bit; otherwise the last bits differ, and "
        "so do the numbers."
    )
