"""report.md: the answer first, then the numbers, then the method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from benchmark.analysis.contrasts import QUESTIONS, Contrast, Family
from benchmark.analysis.differences import Difference
from benchmark.analysis.noise_floor import noise_floor
from benchmark.analysis.published import Source
from benchmark.analysis.results import Results
from benchmark.analysis.uncertainty.inference import smallest_visible
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.report import tables
from benchmark.report.figures.charts import describe_drawn
from benchmark.report.figures.images import explain_missing
from benchmark.report.figures.picture import Picture, Section
from benchmark.report.sections import method
from benchmark.report.sections.accuracy import FLOOR_NOTE, accuracy_table, floor_table, not_applicable
from benchmark.report.sections.answer import answer, cautions, details, families_in, reading
from benchmark.report.sections.noise_floor import noise_floor_table
from benchmark.report.sections.over_test_sets import over_test_sets
from benchmark.report.sections.published import published
from benchmark.report.sections.recommendation import recommendations
from benchmark.report.sections.scores import costs, other_scores, recall_tables, score_differences_table
from benchmark.report.sections.tuning import learning_rates
from benchmark.report.text import escape, margin_in_words, p_text, percent, points_with_interval
from benchmark.words import count, listed


def markdown(
    results: Results,
    found: Sequence[Difference],
    scores: Mapping[Contrast, Mapping[str, Interval]],
    figures: Sequence[Picture],
    sources: Sequence[Source],
) -> str:
    """Return the complete report as GitHub's Markdown, made by the template ``report.md.j2``."""
    matrix, plan = results.matrix, results.plan

    def figures_of(section: Section) -> str:
        notes = [explain_missing(results, figures, section)] if section in ("modes", "hardest") else []
        return "\n\n".join([_figure(picture) for picture in figures if picture.section == section] + notes)

    template = Path(__file__).with_name("report.md.j2").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(
        results=results,
        plan=plan,
        training=matrix.training,
        sizes=listed([str(size) for size in matrix.training.image_size]),
        protocol_version=PROTOCOL_VERSION,
        input_modes=INPUT_MODES,
        escape=escape,
        count=count,
        answer=answer(results, found),
        cautions=cautions(results),
        conflicts=results.store.conflicts(),
        recommendations=recommendations,
        details=details(results, found),
        ledger=tables.ledger(results),
        models=listed([escape(model) for model in matrix.models]),
        machine_in_short=method.machine_in_short(plan.done) if plan.done else "",
        accuracy_table=accuracy_table(results),
        not_applicable=not_applicable(results),
        floor_table=floor_table(results),
        floor_note=FLOOR_NOTE,
        best=tables.BEST,
        figures=figures_of,
        differences=_differences(results, found),
        noise_floor=noise_floor_table(noise_floor(results)),
        margin=margin_in_words(matrix.equivalence_margin / 100),
        learning_rates=learning_rates(results),
        curves_note=describe_drawn(results),
        costs=costs,
        recall_tables=recall_tables,
        other_scores=other_scores,
        score_differences=score_differences_table(scores, results),
        published=published(sources, found, results),
        folds={cell.key.dataset: cell.folds for cell in results.by_key.values() if cell.folds},
        choice=method.choice(matrix),
        settings=method.settings(results),
        images=method.datasets(results),
        machine=method.machine(plan.done) if plan.done else "",
        done_runs=count(len(plan.done), "done run"),
        flags=method.flags(plan.done),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


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
                "p (adjusted)": p_text(difference.adjusted_p),
                "visible": "" if visible is None else percent(visible),
                "seeds": f"{len(difference.seeds)} of {difference.asked}",
                "reading": reading(difference),
            }
            bold = "**" if contrast.headline else ""
            rows.append({title: f"{bold}{text}{bold}" if text else "" for title, text in row.items()})
        body = [tables.table_of(rows, right=5)] if rows else []
        body += [over_test_sets(difference) for difference in found if _is_pooled(difference, family)]
        if unmeasured:
            body.append(f"{count(unmeasured, 'comparison')} not measured: no seed is done on both sides.")
        parts.append("\n\n".join([f"### {QUESTIONS[family]}", *body]))
    return "\n\n".join(parts)


def _is_pooled(difference: Difference, family: Family) -> bool:
    return difference.contrast.family == family and bool(difference.pooled)


def _figure(picture: Picture) -> str:
    title = escape(picture.title)
    return f"**{title}**\n\n![{title}](figures/{picture.name}.svg)\n\n{picture.caption}"
