"""The preflight as commands show it: every problem with its place in the matrix file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import matrix_file
from benchmark.cli.selection import Selection
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.matrix import RunSpec
    from benchmark.preflight import Preflight, Progress


def require_preflight(
    selection: Selection, specs: Sequence[RunSpec], data_dir: Path | None, workers: int, progress: Progress
) -> Preflight:
    """Look at everything that the runs need, images and weights included, before any of them starts.

    Raises:
        UserError: something is wrong; all of it is named, each with the file and line, or the ``--set``, to change.
    """
    from benchmark.preflight import preflight

    found = preflight(
        specs,
        data_dir,
        selection.store.folder,
        workers=workers,
        keeps_weights=selection.matrix.keep_weights != "none",
        progress=progress,
    )
    if found.problems:
        placed = (
            f"{matrix_file.place(selection.source, selection.overrides, problem.key)}: {problem.key}: {problem.message}"
            for problem in found.problems
        )
        raise UserError("\n".join(placed))
    return found
