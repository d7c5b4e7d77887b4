"""Seconds and memory of `plan`, `report`, `report --check` and `status` as a matrix grows, on made-up records.

    python -m tests.performance.report_growth [--runs 400 1000 2000]

exits with 1 where 10 s (`plan` of 20,000 runs: 3 s) or 500 MB are passed. Each
command runs alone in a process of its own; memory is its peak resident set. The records are those of 8 dataset entries
x 5 input modes x 5 policies x 2, 5 or 10 seeds, with 372 test images and 3 classes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark.matrix import file
from benchmark.matrix.matrix import Matrix
from tests import factories
from tests.performance import common

LIMIT_SECONDS = 10.0
PLANNED = 20_000
PLAN_SECONDS = 3.0
LIMIT_MB = 500.0
CELLS = 8 * 5 * 5
IMAGES = 372

COMMANDS = {"report": ["report"], "report again": ["report"], "check": ["report", "--check"], "status": ["status"]}


def matrix(runs: int) -> Matrix:
    """Return a matrix of so many runs, a multiple of 200."""
    if runs % CELLS:
        raise SystemExit(f"--runs {runs}: write a multiple of {CELLS}.")
    return factories.grid(
        name=f"runs-{runs}",
        datasets=[{"name": "beans", "limit": 100 + k, "label": f"set {k}"} for k in range(8)],
        input_modes=["rgb", "grey-3ch", "grey-1ch", "grey-3ch-shared-norm", "grey-1ch-mean"],
        policies=["finetune", "finetune-whole", "feature-extract", "discriminative", "freeze-early"],
        seeds=list(range(runs // CELLS)),
    )


def measured(label: str, command: list[str], results: Path, made: Matrix) -> dict[str, Any]:
    """Run one command alone; return its wall seconds, processor seconds, peak resident memory, and ratio to a limit."""
    kept = str(results / made.name / "matrix.yaml")
    where = {"report": [made.name], "plan": ["--matrix", kept]}.get(command[0], ["--matrix", made.name])
    arguments = [sys.executable, "-m", "benchmark", *command, *where, "--results", str(results)]
    started = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds, peak = time.perf_counter() - started, used.ru_maxrss / 1024
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
    limit = PLAN_SECONDS if label == "plan" else LIMIT_SECONDS
    return {
        "ratio": max(seconds / limit, peak / LIMIT_MB),
        "runs": int(made.name.removeprefix("runs-")),
        "command": label,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(peak),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[400, 1000, 2000])
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for runs in options.runs:
            made = matrix(runs)
            store = factories.fill(Path(folder), made, factories.latent(images=IMAGES))
            (store.folder / "matrix.yaml").write_text(file.dump(made), encoding="utf-8")
            rows += [measured(name, command, Path(folder), made) for name, command in COMMANDS.items()]
        planned = matrix(PLANNED)
        (Path(folder) / planned.name).mkdir()
        (Path(folder) / planned.name / "matrix.yaml").write_text(file.dump(planned), encoding="utf-8")
        rows.append(measured("plan", ["plan"], Path(folder), planned))
    worst = max(row["ratio"] for row in rows)
    goal = f"<= 1 ({LIMIT_SECONDS:.0f} s, plan of {PLANNED} runs {PLAN_SECONDS:.0f} s, {LIMIT_MB:.0f} MB)"
    common.conclude("seconds and memory of commands as a matrix grows", worst, goal, rows, images=IMAGES, measured=rows)
    sys.exit(worst > 1)


if __name__ == "__main__":
    main()
