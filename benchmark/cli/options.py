"""Options that several verbs share, and what they resolve to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmark import matrix_file
from benchmark.errors import UserError, did_you_mean
from benchmark.matrix import Matrix, expand
from benchmark.plan import STATES, Plan, PlannedRun, make_plan
from benchmark.store import Store
from benchmark.weights_identity import with_weights_identified

MatrixOption = Annotated[str, typer.Option("--matrix", help="A shipped matrix's name, or a YAML file.")]
MatrixOrFolderOption = Annotated[
    str | None, typer.Option("--matrix", help="A shipped matrix's name, or a YAML file.", show_default="quick")
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", help="Your own images: a folder with a folder a class; ends with a recommendation."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the matrix, dotted: training.epochs=3."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=VALUE",
        help="Only some runs; keys: dataset, input_mode, policy, model, seed, status. May be repeated.",
    ),
]
NameOption = Annotated[str | None, typer.Option("--name", help="Folder under --results; default: the matrix's name.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="Parent folder of the results.")]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where datasets are; default: BENCHMARK_DATA_DIR, else the user's data folder."),
]

DEFAULT_MATRIX = "quick"
DEFAULT_RESULTS = Path("results")

FAILURES = ("failed", "diverged", "timeout", "oom", "killed")
"""States that ``--only status=failed`` selects; each can also be named by itself."""


@dataclass(frozen=True)
class Selection:
    """A matrix with its results folder, and the runs of it that a command is about."""

    matrix: Matrix
    source: Path
    """The file that the matrix came from."""
    overrides: tuple[str, ...]
    store: Store
    plan: Plan
    selected: tuple[PlannedRun, ...]

    @property
    def matrix_path(self) -> Path:
        """Where the effective matrix is kept."""
        return kept_matrix(self.store.folder)


def kept_matrix(folder: Path) -> Path:
    """Return where a results folder keeps its effective matrix."""
    return folder / "matrix.yaml"


def select(
    matrix: str,
    overrides: Sequence[str] | None,
    only: Sequence[str] | None,
    name: str | None,
    results: Path,
    *,
    verify: bool = False,
) -> Selection:
    """Resolve the options that name a matrix and some of its runs; ``verify``: look again at known folders.

    Raises:
        UserError: the matrix, an override or a selector is wrong, or no run matches.
    """
    source = matrix_file.find(matrix)
    loaded = matrix_file.load(source, overrides or (), name)
    if any(entry.is_folder for entry in loaded.datasets):
        from benchmark.datasets.identity import identified

        loaded = identified(loaded, verify=verify)
    loaded = with_weights_identified(loaded, verify=verify)
    store = Store(results / loaded.name)
    plan = make_plan(expand(loaded), store)
    return Selection(loaded, source, tuple(overrides or ()), store, plan, _filter(plan, only or ()))


def _value(run: PlannedRun, key: str) -> str:
    return run.state if key == "status" else str(getattr(run.spec, key))


def _filter(plan: Plan, only: Sequence[str]) -> tuple[PlannedRun, ...]:
    keys = ("dataset", "input_mode", "policy", "model", "seed", "status")
    wanted: dict[str, set[str]] = {}
    for selector in only:
        key, equals, value = selector.partition("=")
        if not equals:
            raise UserError(f"--only {selector}: write KEY=VALUE, e.g. --only dataset=beans.")
        if key not in keys:
            raise UserError(f"--only {selector}: unknown key {key!r}.{did_you_mean(key, keys)}")
        known = set(STATES) if key == "status" else {_value(run, key) for run in plan.runs}
        if value not in known:
            raise UserError(f"--only {selector}: the matrix has no such {key}.{did_you_mean(value, known)}")
        values = FAILURES if (key, value) == ("status", "failed") else (value,)
        wanted.setdefault(key, set()).update(values)
    return tuple(run for run in plan.runs if all(_value(run, key) in values for key, values in wanted.items()))
