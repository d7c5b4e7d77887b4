"""Tables that several parts of the report share: the ledger, the comparison as in the article, CSV files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from benchmark.analysis.differences import Contrast
from benchmark.analysis.results import CellKey, Results
from benchmark.records.plan import STATES
from benchmark.report.text import escape, table, with_interval
from benchmark.words import count

BEST = "★"
"""Mark of a dataset's highest mean accuracy."""

_DECIMALS = {"degrees_of_freedom": 1, "train_seconds": 2, "train_images_per_second": 2, "eval_images_per_second": 2}
"""Decimals of columns in CSV files, if not five."""

_SIGNS = {"±": r"$\pm$", "−": "$-$", "–": "--", "|": r"\textbar{}"}
"""LaTeX of signs that tabulate leaves unchanged."""

_BEST = re.compile(rf"(?<=& )([^&\n]+?) {BEST}")


def ledger(results: Results) -> str:
    """Return the number of runs per state: done, failed, stale and pending always, the others if any."""
    counts = results.plan.counts()
    always = ("done", "failed", "stale", "pending")
    return ", ".join(f"{counts.get(state, 0)} {state}" for state in STATES if state in always or counts.get(state))


def comparison(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, plain text: dataset x input mode (x model if there are several) against policies."""
    reasons = {(i.dataset, i.input_mode, policy): i.reason for i in results.not_applicable for policy in i.policies}
    rows = []
    for dataset in results.datasets:
        best = results.best(dataset)
        for model in results.matrix.models:
            for mode in results.matrix.input_modes:
                keys = [(dataset, mode, policy, model) for policy in results.matrix.policies]
                cells = [
                    f"n/a: {reasons[key[:3]]}" if key[:3] in reasons else _cell(results, key, key in best)
                    for key in keys
                ]
                rows.append([dataset, *([model] if results.several_models else []), mode, *cells])
    models = ["model"] if results.several_models else []
    return ["dataset", *models, "input mode", *results.matrix.policies], rows


def _cell(results: Results, key: CellKey, best: bool) -> str:
    """Return ``91.4 (88.9–93.5)`` in percent, with ``n=2`` if seeds are missing; else the runs' states.

    A cell that repeats another by construction names it.
    """
    if key in results.repeated:
        return f"= {results.repeated[key][1]}"
    cell = results.by_key[key]
    if cell.accuracy is None:
        return ", ".join(f"{number} {state}" for state, number in results.states[key].items())
    few = f" (n={len(cell.seeds)})" if len(cell.seeds) < len(cell.asked) else ""
    return with_interval(cell.accuracy) + few + (f" {BEST}" if best else "")


def cell_in_words(results: Results, key: CellKey) -> str:
    """Return ``grey-1ch with finetune``, with the model in brackets if there are several; Markdown."""
    _, mode, policy, model = key
    return f"{mode} with {policy}" + (f" ({escape(model)})" if results.several_models else "")


def place(results: Results, dataset: str, model: str, **more: str) -> dict[str, str]:
    """Return the columns that identify a row, as Markdown: dataset, model if there are several, and more."""
    models = {"model": model} if results.several_models else {}
    return {title.replace("_", " "): escape(name) for title, name in ({"dataset": dataset} | models | more).items()}


def comparison_columns(results: Results, contrast: Contrast) -> dict[str, str]:
    """Return the columns of a row's comparison, as Markdown."""
    difference = {"difference": escape(f"{contrast.first} − {contrast.second}"), "in": escape(contrast.context)}
    return place(results, contrast.dataset, contrast.model) | difference


def table_of(rows: Sequence[Mapping[str, str]], right: int) -> str:
    """Return a Markdown table of rows by column title, the last columns aligned right; empty without rows."""
    return table(list(rows[0]), (list(row.values()) for row in rows), len(rows[0]) - right) if rows else ""


def csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: fixed decimals, ``yes`` and ``no``, missing values empty."""
    shown = frame.copy()
    for name, dtype in frame.dtypes.items():
        if dtype == "boolean":
            shown[name] = frame[name].map({True: "yes", False: "no"})
        elif dtype == "float64":
            shown[name] = frame[name].map(f"{{:.{_DECIMALS.get(str(name), 5)}f}}".format, na_action="ignore")
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
        f"Test accuracy in percent, mean over {count(len(results.matrix.seeds), 'seed')} and 95 \\% interval for "
        "crossed random seeds and test images. Bold: highest mean of the dataset. "
        f"Matrix {results.matrix.name}: {count(len(results.plan.runs), 'run')}, {ledger(results)}."
    ).replace("_", r"\_")
    start = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    return "\n".join([*start, body, r"\end{table}"]) + "\n"
