"""The comparison of two results of one matrix: as Markdown, as a table with one row per run, and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.comparison import Comparison, rms
from benchmark.analysis.noise_floor import rms as rms_of_noise
from benchmark.files import write_atomically
from benchmark.records.record import DoneRun
from benchmark.report import tables
from benchmark.report.figures.picture import Picture
from benchmark.report.sections.answer import verdict
from benchmark.report.text import escape, format_value, percent, points_with_interval, table
from benchmark.words import count, listed

NAME = "comparison"
"""Name of the files, without extension."""

NARROWEST = 1.0
"""Smallest half-width of the figure's axis, points, so that small changes look small."""


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``comparison.md``, ``comparison.csv`` (one row per run), ``comparison.svg`` and ``comparison.png``.

    Raises:
        UserError: the folder cannot be written.
    """
    made = picture(comparison)
    png, svg = made.draw_files()
    figure = f"![{made.title}]({NAME}.svg)\n\n{made.caption}"
    files = {
        f"{NAME}.md": f"# Two results of one matrix\n\n{markdown(comparison)}\n\n{figure}\n".encode(),
        f"{NAME}.csv": tables.csv(frame(comparison)).encode(),
        f"{NAME}.svg": svg,
        f"{NAME}.png": png,
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def markdown(comparison: Comparison) -> str:
    """Return what differs between the two, in sentences and tables."""
    parts = [_places(comparison), _summary(comparison), _verdicts(comparison), _cells(comparison)]
    return "\n\n".join(part for part in parts if part)


def _places(comparison: Comparison) -> str:
    both = comparison.first, comparison.second
    facts = [_facts(results.plan.done) for results in both]
    rows = [["folder", *(escape(str(results.store.folder)) for results in both)]]
    shown = ([name, *(escape(each.get(name, "")) for each in facts)] for name in {**facts[0], **facts[1]})
    rows += [row for row in shown if row[1] != row[2]]
    return table(["", "first", "second"], rows, left=3)


def _facts(records: Sequence[DoneRun]) -> dict[str, str]:
    """Return what the machines and libraries of some runs were, by name."""

    def values(of: Any) -> str:
        return listed(sorted({str(of(record)) for record in records}))

    packages = sorted({name for record in records for name in record.environment.packages})
    return {
        "processor": values(lambda r: r.environment.cpu),
        "instructions": values(lambda r: r.environment.instruction_set),
        "device": values(lambda r: r.environment.device),
        "precision": values(lambda r: r.environment.precision),
        "threads": values(lambda r: r.environment.threads),
        "Python": values(lambda r: r.environment.python),
        "commit": values(lambda r: r.environment.git_commit),
        **{name: values(lambda r, name=name: r.environment.packages.get(name)) for name in packages},
    }


def _summary(comparison: Comparison) -> str:
    drifts = comparison.drifts
    alone = [
        f"{number} only in the {place}"
        for number, place in zip(comparison.alone, ("first", "second"), strict=True)
        if number
    ]
    also = f" ({listed(alone)}, left out)" if alone else ""
    largest = max(drifts, key=lambda drift: abs(drift.accuracy))
    noise = (
        f"The noise floor, cells of these results that are one function by construction, is "
        f"{percent(rms_of_noise(comparison.noise))} points (rms, {count(len(comparison.noise), 'pair')})."
        if comparison.noise
        else "These results have no pair of cells that are one function, so their noise floor is unknown."
    )
    return (
        f"{count(len(drifts), 'run')} {'is' if len(drifts) == 1 else 'are'} done in both{also}; the predictions of "
        f"{comparison.identical} are equal to the last bit. Test accuracies of single runs differ by "
        f"{percent(rms(drifts))} points (rms), at most by {format_value(largest.accuracy, 0.01, 1, sign=True)}. {noise}"
    )


def _verdicts(comparison: Comparison) -> str:
    if not comparison.verdicts:
        return "No difference is measured in both, so there are no verdicts to compare."
    turned = comparison.turned
    among = count(len(comparison.verdicts), "difference")
    said = (
        f"{count(len(turned), 'verdict')} {'turns' if len(turned) == 1 else 'turn'}" if turned else "No verdict turns"
    )
    rows = [
        [
            escape(f"{a.contrast.first} − {a.contrast.second}"),
            escape(a.contrast.dataset),
            escape(a.contrast.context),
            *(
                f"{points_with_interval(each.interval)}: {verdict(each)}"
                for each in (a, b)
                if each.interval is not None
            ),
        ]
        for a, b in turned or comparison.headline_pairs
    ]
    header = ["difference", "dataset", "where", "first", "second"]
    return f"{said} among {among}.\n\n{table(header, rows, left=5)}"


def _cells(comparison: Comparison) -> str:
    rows = []
    for key in dict.fromkeys(drift.cell for drift in comparison.drifts):
        own = [drift for drift in comparison.drifts if drift.cell == key]
        images = sum(drift.images for drift in own)
        rows.append(
            {
                **tables.cell_columns(comparison.first, key),
                "seeds": str(len(own)),
                "first %": percent(sum(drift.first for drift in own) / len(own)),
                "second %": percent(sum(drift.second for drift in own) / len(own)),
                "change": format_value(sum(drift.accuracy for drift in own) / len(own), 0.01, 1, sign=True),
                "rms of runs": percent(rms(own)),
                "images changed %": percent(sum(drift.changed for drift in own) / images),
                "largest change of a probability": f"{max(drift.largest for drift in own):.2g}",
            }
        )
    return tables.table_of(rows, right=7)


def frame(comparison: Comparison) -> pd.DataFrame:
    """Return one row per run: its names, both test accuracies (shares), and what changed."""
    return pd.DataFrame(
        [
            {
                **drift.cell._asdict(),
                "seed": drift.seed,
                "first": drift.first,
                "second": drift.second,
                "change": drift.accuracy,
                "images": drift.images,
                "images_changed": drift.changed,
                "largest_probability_change": drift.largest,
            }
            for drift in comparison.drifts
        ]
    )


def picture(comparison: Comparison) -> Picture:
    """Return the figure: each run's change of test accuracy, by cell, with the noise floor as a band."""
    cells: dict[str, list[float]] = {}
    for drift in comparison.drifts:
        name = " ".join(tables.cell_columns(comparison.first, drift.cell).values())
        cells.setdefault(name, []).append(round(100 * drift.accuracy, 2))
    noise = round(100 * rms_of_noise(comparison.noise), 2) if comparison.noise else None
    band = "" if noise is None else " Band: the noise floor, plus and minus its root mean square."
    caption = (
        f"Change of test accuracy from the first to the second results: a point per run, diamonds are means.{band}"
    )
    return Picture(
        NAME, "differences", "Change of test accuracy by cell", caption, {"cells": cells, "noise": noise}, _draw
    )


def _draw(data: Any) -> Figure:
    cells: dict[str, list[float]] = data["cells"]
    figure = Figure(figsize=(8, 0.9 + 0.26 * len(cells)), layout="constrained")
    axes = figure.subplots()
    if data["noise"] is not None:
        axes.axvspan(-data["noise"], data["noise"], color="#c3d2e6", lw=0, zorder=0)
    axes.axvline(0, color="#666666", lw=0.8, zorder=1)
    for place, changes in enumerate(cells.values()):
        axes.plot(changes, [place] * len(changes), "o", color="#0072b2", ms=4, alpha=0.7, zorder=3)
        axes.plot(sum(changes) / len(changes), place, "D", color="black", ms=5, zorder=4)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.set_ylim(len(cells) - 0.5, -0.5)
    widest = max(NARROWEST, max(abs(end) for end in axes.get_xlim()))
    axes.set_xlim(-widest, widest)
    axes.set_xlabel("change of test accuracy, points")
    axes.grid(axis="x")
    return figure
