"""What a worker printed, read when it is gone. Without torch: read by processes that start for nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

LAST_LINES = 30
"""Of a worker's log in the record of a run that is not done."""

LONGEST_TAIL = 20_000
"""Bytes at the end of a worker's log that are looked at."""


def last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of a worker's log, none where there is no file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LONGEST_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-LAST_LINES:]


def clear_up(folder: Path) -> tuple[str, ...]:
    """Return the last lines of a worker that is gone, and delete its folder, which holds ``log``; on its own node."""
    lines = last_lines(folder / "log")
    shutil.rmtree(folder, ignore_errors=True)
    return lines
