"""Tables that several parts of the report share: the ledger, the comparison of cells, CSV files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from benchmark import spreadsheet
from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.floor import Floor, best_floor, in_words
from benchmark.analysis.results import Results
from benchmark.matrix.run_spec import CellKey, Setup
from benchmark.records.plan import STATES
from benchmark.report.text import escape, format_value, table, with_interval
from benchmark.words import count

BEST = "★"
"""Mark of a dataset's highest mean accuracy."""

_DECIMALS = {"degrees_of_freedom": 1, "train_seconds": 2, "train_images_per_second": 2, "eval_images_per_second": 2}
"""Decimals of columns in CSV files, if not five."""

_SIGNS = {"±": r"$\pm$", "−": "$-$", "–": "--", "|": r"\textbar{}"}
"""LaTeX of signs that tabulate leaves unchanged."""

_BEST = re.compile(rf"(?<=& )([^&\n]+?) {BEST}")

_FLOOR: Mapping[str, tuple[str, float, int]] = {
    "validation.accuracy": ("validation (%)", 0.01, 1),
    "test.accuracy": ("test (%)", 0.01, 1),
    "test.balanced_accuracy": ("balanced (%)", 0.01, 1),
    "test.roc_auc": ("ROC AUC (%)", 0.01, 1),
}
"""Field of a floor row -> (title, unit, decimals)."""


def ledger(results: Results) -> str:
    """Return the number of runs per state: done, failed, stale and pending always, the others if any."""
    counts = results.plan.counts()
    always = ("done", "failed", "stale", "pending")
    return ", ".join(f"{counts.get(state, 0)} {state}" for state in STATES if state in always or counts.get(state))


def comparison(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, plain text: dataset x the parts of the setup that vary x input mode against policies.

    A mode that has no cell of a dataset has no row.
    """
    reasons = {(i.dataset, i.input_mode, policy): i.reason for i in results.not_applicable for policy in i.policies}

    def shown(key: CellKey, best: Sequence[CellKey]) -> str:
        if results.matrix.leaves_out(key):
            return "left out"
        return f"n/a: {reasons[key[:3]]}" if key[:3] in reasons else _cell(results, key, key in best)

    rows = []
    for dataset in results.datasets:
        best = results.best(dataset)
        for setup in results.matrix.setups:
            for mode in results.matrix.input_modes:
                keys = [CellKey(dataset, mode, policy, *setup) for policy in results.matrix.policies]
                if any(key[:3] not in reasons and not results.matrix.leaves_out(key) for key in keys):
                    cells = [shown(key, best) for key in keys]
                    rows.append([dataset, *results.matrix.varying_parts(setup).values(), mode, *cells])
    names = [part.replace("_", " ") for part in results.matrix.varying_parts(results.matrix.setups[0])]
    return ["dataset", *names, "input mode", *results.matrix.policies], rows


def floor(floors: Sequence[Floor]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, plain text: dataset x method of the floor rows against their mean scores."""
    rows = []
    for each in floors:
        best = f" {BEST}" if each is best_floor(each.dataset, floors) else ""
        chosen = dict.fromkeys(in_words(row.hyperparameters) for row in each.rows)
        not_done = Counter(row.state for row in each.planned if row.row is None)
        notes = [*filter(None, chosen), *(f"{number} {state}" for state, number in not_done.items())]
        scores = [format_value(each.mean(field), unit, decimals) for field, (_, unit, decimals) in _FLOOR.items()]
        rows.append([each.dataset, f"{each.method}{best}", "; ".join(notes), *scores])
    titles = [title for title, _, _ in _FLOOR.values()]
    return ["dataset", "floor row", "chosen", *titles], rows


def _cell(results: Results, key: CellKey, best: bool) -> str:
    """Return ``91.4 (88.9–93.5)`` in percent, with ``n=2`` if seeds are missing; else the runs' states.

    A cell that repeats another by construction names it.
    """
    if key in results.repeated:
        return f"= {results.repeated[key].input_mode}"
    cell = results.by_key[key]
    if cell.accuracy is None:
        return ", ".join(f"{number} {state}" for state, number in results.states[key].items())
    few = f" (n={len(cell.seeds)})" if len(cell.seeds) < len(cell.asked) else ""
    return with_interval(cell.accuracy) + few + (f" {BEST}" if best else "")


def cell_in_words(results: Results, key: CellKey) -> str:
    """Return ``grey-1ch with finetune``, with the parts of its setup that vary in brackets; Markdown."""
    return escape(results.matrix.add_setup(f"{key.input_mode} with {key.policy}", key.setup))


def place_in_words(results: Results, dataset: str, setup: Setup) -> str:
    """Return ``beans``, with the parts of the setup that vary: ``beans with MODEL at 96 px``; Markdown."""
    words = {"model": "with", "image_size": "at"}
    parts = results.matrix.varying_parts(setup).items()
    return " ".join([escape(dataset), *(f"{words[part]} {escape(text)}" for part, text in parts)])


def place(results: Results, dataset: str, setup: Setup, **more: str) -> dict[str, str]:
    """Return the columns that identify a row, as Markdown: dataset, the parts of the setup that vary, and more."""
    columns = {"dataset": dataset} | results.matrix.varying_parts(setup) | more
    return {title.replace("_", " "): escape(name) for title, name in columns.items()}


def cell_columns(results: Results, key: CellKey) -> dict[str, str]:
    """Return the columns that identify a cell, as Markdown."""
    return place(results, key.dataset, key.setup, input_mode=key.input_mode, policy=key.policy)


def comparison_columns(results: Results, contrast: Contrast) -> dict[str, str]:
    """Return the columns of a row's comparison, as Markdown."""
    difference = {"difference": escape(f"{contrast.first} − {contrast.second}"), "in": escape(contrast.context)}
    return place(results, contrast.dataset, contrast.setup) | difference


def table_of(rows: Sequence[Mapping[str, str]], right: int) -> str:
    """Return a Markdown table of rows by column title, the last columns aligned right; empty without rows."""
    return table(list(rows[0]), (list(row.values()) for row in rows), len(rows[0]) - right) if rows else ""


def csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: fixed decimals, ``yes`` and ``no``, missing values empty, and names never formulas."""
    shown = frame.copy()
    for name, dtype in frame.dtypes.items():
        if dtype == "boolean":
            shown[name] = frame[name].map({True: "yes", False: "no"})
        elif dtype == "float64":
            shown[name] = frame[name].map(f"{{:.{_DECIMALS.get(str(name), 5)}f}}".format, na_action="ignore")
        elif dtype == "string":
            shown[name] = frame[name].map(spreadsheet.cell, na_action="ignore")
    return shown.to_csv(index=False, lineterminator="\n")


def latex(results: Results) -> str:
    r"""Return table.tex, a ``table`` environment to ``\input``; it needs the package booktabs."""
    header, rows = comparison(results)
    names = len(header) - len(results.matrix.policies)
    shown: list[list[str] | str] = []
    previous: list[str] = []
    for row in ([" ".join(text.split()) for text in row] for row in rows):
        own = row[: names - 1]
        if previous and own != previous:
            shown.append(SEPARATING_LINE)
        shown.append([""] * len(own) + row[len(own) :] if own == previous else row)
        previous = own
    aligned = ["left"] * names + ["right"] * (len(header) - names)
    body = tabulate(shown, header, tablefmt="latex_booktabs", colalign=aligned, disable_numparse=True)
    body = re.sub("^ (?!&)", "", re.sub(" +", " ", body), flags=re.MULTILINE)  # without padding
    for sign, command in _SIGNS.items():
        body = body.replace(sign, command)
    body = _BEST.sub(r"\\textbf{\1}", body)
    caption = (
        f"Test accuracy in percent, mean over {results.matrix.number_of_seeds} and 95 \\% interval for "
        "crossed random seeds and test images. Bold: highest mean of the dataset. "
        f"Matrix {results.matrix.name}: {count(len(results.plan.runs), 'run')}, {ledger(results)}."
    ).replace("_", r"\_")
    start = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    return "\n".join([*start, body, r"\end{table}"]) + "\n"
