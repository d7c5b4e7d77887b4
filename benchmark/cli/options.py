"""Options of several verbs; `benchmark.records.selection.select` resolves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Matrix = Annotated[str, typer.Option("--matrix", help="A shipped matrix's name, or a YAML file.")]
MatrixOrNone = Annotated[
    str | None, typer.Option("--matrix", help="A shipped matrix's name, or a YAML file.", show_default="quick")
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Your own images: a folder with one folder per class; ends with a recommendation."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the matrix, e.g. training.epochs=3."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=VALUE",
        help="Select runs; keys: dataset, input_mode, policy, model, image_size, seed, status. May be repeated.",
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Folder under --results; default: the matrix's name.")]
Results = Annotated[Path, typer.Option("--results", help="Parent folder of the results.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder of the datasets; default: BENCHMARK_DATA_DIR, else the user's data folder."
    ),
]

DEFAULT_MATRIX = "quick"
DEFAULT_RESULTS = Path("results")
