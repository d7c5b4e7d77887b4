"""table.tex: the comparison table for a paper, with booktabs."""

from __future__ import annotations

import re

from tabulate import SEPARATING_LINE, tabulate

from benchmark.analysis.results import Results
from benchmark.report import tables
from benchmark.words import count

_SIGNS = {"±": r"$\pm$", "−": "$-$", "–": "--", "|": r"\textbar{}"}
"""LaTeX of signs that tabulate leaves unchanged."""

_BEST = re.compile(rf"(?<=& )([^&\n]+?) {tables.BEST}")


def latex(results: Results) -> str:
    r"""Return table.tex, a ``table`` environment to ``\input``; it needs the package booktabs."""
    header, rows = tables.comparison(results)
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
        f"Matrix {results.matrix.name}: {count(len(results.plan.runs), 'run')}, {tables.ledger(results)}."
    ).replace("_", r"\_")
    start = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    return "\n".join([*start, body, r"\end{table}"]) + "\n"
