"""The preflight as commands show it: every problem with its place in the matrix file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import matrix_file
from benchmark.cli.selection import Selection
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.executors.beside import Progress
    from benchmark.matrix import RunSpec
    from benchmark.preflight import Preflight


def require_preflight(
    selection: Selection,
    specs: Sequence[RunSpec],
    data_dir: Path | None,
    workers: Callable[[int], int],
    progress: Progress,
) -> Preflight:
    """Look at everything that the runs need, images and weights included, before any of them starts.

    The arguments are those of `benchmark.preflight.preflight`. The libraries of the runs are imported meanwhile, in a
    process from which workers are forked later.

    Raises:
        UserError: something is wrong; all of it is named, each with the file and line, or the ``--set``, to change.
    """
    from benchmark.executors import libraries
    from benchmark.executors.beside import beside
    from benchmark.preflight import preflight

    libraries.start_importing()
    found = preflight(
        specs,
        data_dir,
        selection.store.folder,
        workers=workers,
        keeps_weights=selection.matrix.keep_weights != "none",
        beside=beside,
        progress=progress,
    )
    if found.problems:
        placed = (
            f"{matrix_file.place(selection.source, selection.overrides, problem.key)}: {problem.key}: {problem.message}"
            for problem in found.problems
        )
        raise UserError("\n".join(placed))
    return found
