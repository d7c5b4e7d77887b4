"""The files that `benchmark.checkpoints` keeps of runs, by their names. No torch."""

from __future__ import annotations

from pathlib import Path


def remove(folder: Path, run_id: str) -> None:
    """Delete what `Checkpoints` keeps of a run, unfinished files included."""
    for pattern in (
        f"{run_id}.checkpoint*",
        f"{run_id}.best-*",
        f".{run_id}.checkpoint.*.tmp",
        f".{run_id}.best-*.tmp",
    ):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def runs_in(folder: Path) -> set[str]:
    """Return the ids of the runs of which anything is kept, unfinished files included."""
    return {file.name.removeprefix(".").partition(".")[0] for file in folder.glob("*")}
