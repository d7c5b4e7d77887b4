"""``run --folder``: fit a matrix to a folder, and print the recommendation at the end."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.analysis.results import Results


def fit_folder(matrix: str | None, folder: Path, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Return the matrix for a user's folder, and the overrides that fit it to the images and this machine.

    Raises:
        UserError: a matrix is named too, or the folder cannot be used.
    """
    if matrix is not None:
        raise UserError("--folder and --matrix: name one of them. In a matrix, datasets=[folder:PATH] names a folder.")
    from benchmark.matrix.own_folder import MATRIX, fit
    from benchmark.training.devices import choose_device

    fitted = fit(folder, overrides, gpu=choose_device().type == "cuda")
    for choice in fitted.choices:
        typer.echo(choice)
    return MATRIX, [*fitted.overrides, *overrides]


def recommend(results: Results) -> None:
    """Print the recommendation in words, and the command that classifies with the winner."""
    from benchmark.report import build

    matrix, folder = results.matrix, results.store.folder
    typer.echo("\nRecommendation")
    for line in build.recommendation(results).splitlines():
        typer.echo(textwrap.fill(line, width=100, subsequent_indent="  " if line.startswith("- ") else ""))
    if matrix.keep_weights == "none":
        return
    where = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
    several = len(matrix.datasets) > 1
    best = f"--best {shlex.quote(folder.name)}{' --dataset NAME' if several else ''}{where}"
    typer.echo(f"\nClassify with the winner: python -m benchmark predict {best} IMAGE…")
