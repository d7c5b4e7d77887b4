"""Seconds and memory of `plan`, `report`, `report --check` and `status` as a matrix grows, on made-up records.

    python -m tests.performance.report_growth [--runs 400 1000 2000]

prints a table and one JSON line, and exits with 1 where 10 s (`plan` of 20,000 runs: 3 s) or 500 MB are passed. Each
command runs alone in a process of its own; memory is its peak resident set. The records are those of 8 dataset entries
x 5 input modes x 5 policies x 2, 5 or 10 seeds, with 372 test images and 3 classes.
"""

from __future__ import annotations

import argparse
import json
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


def measured(command: list[str], results: Path, name: str) -> dict[str, float]:
    """Run one command alone; return its wall seconds, processor seconds and peak resident memory (MB)."""
    kept = str(results / name / "matrix.yaml")
    where = {"report": [name], "plan": ["--matrix", kept]}.get(command[0], ["--matrix", name])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", "benchmark", *command, *where, "--results", str(results)]
    started = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[400, 1000, 2000])
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    print(f"{'runs':>6} {'command':14} {'seconds':>8} {'processor s':>12} {'peak MB':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for runs in options.runs:
            made = matrix(runs)
            store = factories.fill(Path(folder), made, factories.latent(images=IMAGES))
            (store.folder / "matrix.yaml").write_text(file.dump(made), encoding="utf-8")
            for name, command in COMMANDS.items():
                row = measured(command, Path(folder), made.name)
                found.append({"runs": runs, "command": name, **row})
                print(f"{runs:6} {name:14} {row['seconds']:8} {row['cpu_seconds']:12} {row['peak_mb']:8}", flush=True)
        planned = matrix(PLANNED)
        (Path(folder) / planned.name).mkdir()
        (Path(folder) / planned.name / "matrix.yaml").write_text(file.dump(planned), encoding="utf-8")
        row = measured(["plan"], Path(folder), planned.name)
        found.append({"runs": PLANNED, "command": "plan", **row})
        print(f"{PLANNED:6} {'plan':14} {row['seconds']:8} {row['cpu_seconds']:12} {row['peak_mb']:8}", flush=True)
    print(
        json.dumps(
            {
                "images": IMAGES,
                "limit_seconds": LIMIT_SECONDS,
                "plan_seconds": PLAN_SECONDS,
                "limit_mb": LIMIT_MB,
                "measured": found,
            }
        )
    )
    limits = {"plan": PLAN_SECONDS}
    over = [r for r in found if r["seconds"] > limits.get(r["command"], LIMIT_SECONDS) or r["peak_mb"] > LIMIT_MB]
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
