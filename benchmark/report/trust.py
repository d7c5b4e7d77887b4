"""How far the intervals of a report can be trusted: what simulation gives for its designs."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.analysis.coverage import Covered, What, nearest
from benchmark.analysis.results import Results
from benchmark.report.text import count, table

_NAMES: Mapping[What, str] = {
    "accuracy": "accuracy",
    "folds": "accuracy, cross-validated",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "ECE",
}


def coverage(results: Results) -> str:
    """Return, for each number of seeds and test images that the report has, how often such intervals held the truth.

    Markdown; a design that was not simulated is told by the nearest that is not better.
    """
    designs: dict[tuple[int, int, bool], None] = {}
    for cell in results.cells.values():
        if cell.records:
            folded = cell.folds is not None and len(cell.seeds) > 1
            designs[len(cell.seeds), len(cell.images), folded] = None
    rows = []
    for seeds, images, folded in sorted(designs):
        for what in _simulated(folded):
            found = nearest(what, seeds, images)
            rows.append([f"{seeds}, {images}", _NAMES[what], *_shares(found), f"{found.seeds}, {found.images}"])
    parts = [
        "Share of intervals that held the truth in simulations with a known one, from the worst to the best of the "
        "made-up worlds (`tests/analysis/coverage.md` has each of them); 95 % is aimed at. Up to 100 % hold it where "
        "few images tell two cells apart: on five or fewer no paired test can reach 5 %, and below ten the rule of "
        "three stands in. Fewer than 95 % hold it where seeds differ much and are few. A design that was not simulated "
        "is told by the nearest one.",
        table(["seeds, test images", "of", "differences (%)", "cells (%)", "simulated"], rows, left=2),
    ]
    if any(seeds == 1 for seeds, _, _ in designs):
        parts.append("With one seed the seeds' part of the uncertainty is missing: the interval is over images alone.")
    if any(seeds == 2 for seeds, _, _ in designs):
        parts.append(f"From {count(2, 'seed')} no verdict is given.")
    return "\n\n".join(parts)


def _simulated(folded: bool) -> tuple[What, ...]:
    return ("folds",) if folded else ("accuracy", "macro_f1", "log_loss", "calibration_error")


def _shares(found: Covered) -> list[str]:
    return [f"{100 * low:.0f}–{100 * high:.0f}" for low, high in (found.difference, found.cell)]
