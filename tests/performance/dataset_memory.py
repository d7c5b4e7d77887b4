"""Private memory that a run on all of rps needs more than one on an eighth of it; goal 150 MB at most.

    python -m tests.performance.dataset_memory --data-dir DIR [--rounds 3] [--model M] [--policy P] [--weights W]

Each side is one run in a process of its own: rps, rgb, 224 px, batch 32, one epoch, its images decoded before; once on
all 2,892 images (435 MB as stored), once on every eighth image of each split, eight times over (54 MB). So both sides
have the same steps and evaluations in the same order: workers keep freed memory (`environment`), and how its gaps fall
differs by some 100 MB between orders. A run that held its images in memory would need 381 MB more on the first side.
The sides take turns; the median of the pairs' differences counts.

Private memory is ``RssAnon`` of /proc/PID/status (proc(5)), read every 25 ms; once a second ``Private_Dirty`` of
smaps_rollup is read beside it, which adds what the process wrote into its own copies of mapped pages. Clean pages of
the mapped cache file are not counted: they belong to the system's page cache, are shared by all runs on the dataset,
and are given up without a write as soon as anybody needs memory. As long as a single process has touched them, the
kernel calls them ``Private_Clean``, and they are in its unique set size: that is printed too, and does grow by the
dataset.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmark import environment
from tests.performance import common, rps_run

READ_SECONDS = 0.025
LIMIT_MB = 150
SHARES = {"all": 1, "an eighth": 8}


def peaks(data: Path, share: int, overrides: list[str]) -> dict[str, float]:
    """Execute the run once and return its process's peaks, MB, and the number of readings."""
    command = [sys.executable, "-m", "tests.performance.rps_run", "--data-dir", str(data), "--share", str(share)]
    command += [word for override in overrides for word in ("--set", override)]
    peak = {"private MB": 0.0, "Private_Dirty MB": 0.0, "USS MB": 0.0}
    readings = 0
    with subprocess.Popen(command, env={**os.environ, **environment.worker_variables()}) as running:
        while running.poll() is None:
            now = {"private MB": common.kilobytes(running.pid, "status").get("RssAnon", 0)}
            if readings % 40 == 0:
                rollup = common.kilobytes(running.pid, "smaps_rollup")
                now["Private_Dirty MB"] = rollup.get("Private_Dirty", 0)
                now["USS MB"] = rollup.get("Private_Dirty", 0) + rollup.get("Private_Clean", 0)
            for word, size in now.items():
                peak[word] = max(peak[word], size / 1e6)
            readings += 1
            time.sleep(READ_SECONDS)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {running.returncode}")
    return {**peak, "readings": readings}


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="timm/mobilenetv3_small_050")
    parser.add_argument("--policy", default="scratch")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    overrides = [f"models=[{options.model}]", f"weights={options.weights}", f"policies=[{options.policy}]"]
    common.opened(rps_run.spec(overrides), options.data_dir)
    rounds = [
        {side: peaks(options.data_dir, share, overrides) for side, share in SHARES.items()}
        for _ in range(options.rounds)
    ]

    def added(word: str) -> list[float]:
        return [sides["all"][word] - sides["an eighth"][word] for sides in rounds]

    common.conclude(
        f"private memory added by the dataset, {options.model}, {options.policy}",
        median(added("private MB")) / LIMIT_MB,
        f"<= 1 ({LIMIT_MB} MB)",
        [{"of rps": side, **peak} for sides in rounds for side, peak in sides.items()],
        added_private_mb=common.spread(added("private MB"), 1),
        added_private_dirty_mb=common.spread(added("Private_Dirty MB"), 1),
        added_uss_mb=common.spread(added("USS MB"), 1),
    )


if __name__ == "__main__":
    main()
