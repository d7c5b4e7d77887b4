"""table.tex: the comparison table for a paper, with booktabs."""

from __future__ import annotations

import re

from benchmark.analysis.results import Results
from benchmark.report import tables
from benchmark.report.text import count

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
}
_ANY = re.compile("|".join(re.escape(sign) for sign in _SPECIAL))


def escape(text: str) -> str:
    """Return a text that LaTeX prints as it is, on one line."""
    return _ANY.sub(lambda match: _SPECIAL[match.group()], " ".join(text.split()))


def latex(results: Results) -> str:
    r"""Return table.tex, a ``table`` environment to ``\input``; it needs the package booktabs."""
    header, rows = tables.comparison(results)
    names = len(header) - len(results.matrix.policies)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(_caption(results))}}}",
        rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(header) - names)}}}",
        r"\toprule",
        " & ".join(escape(title) for title in header) + r" \\",
    ]
    previous = None
    for row in rows:
        if row[: names - 1] != previous:
            lines.append(r"\midrule")
            shown = row
        else:
            shown = [""] * (names - 1) + row[names - 1 :]
        previous = row[: names - 1]
        lines.append(" & ".join(_cell(text) for text in shown) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _caption(results: Results) -> str:
    counted = ", ".join(f"{number} {state}" for state, number in tables.ledger(results))
    return (
        f"Test accuracy in percent, mean over {count(len(results.matrix.seeds), 'seed')} and 95 % interval for "
        f"crossed random seeds and test images. Bold: highest mean of the dataset. "
        f"Matrix {results.matrix.name}: {count(len(results.plan.runs), 'run')}, {counted}."
    )


def _cell(text: str) -> str:
    if text.endswith(tables.BEST):
        return rf"\textbf{{{escape(text.removesuffix(tables.BEST).strip())}}}"
    return escape(text)
