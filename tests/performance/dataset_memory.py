"""Private memory that a run needs more for all of rps than for 692 of its images; goal 150 MB at most.

    python -m tests.performance.dataset_memory --data-dir DIR [--rounds 3] [--model M] [--policy P] [--weights W]

Each side is ``python -m benchmark run`` in processes of its own: rps, rgb, 224 px, batch 32, its images decoded on the
way; once on all 2,892 images (435 MB as stored) for one epoch, once on 320 of the 2,520 for training and the same 372
for testing (104 MB as stored), for as many epochs as give as many steps: workers keep freed memory (`environment`), and
their heap grows for the first dozens of batches, whatever the data. A run that held its images in memory would need
331 MB more on the first side. Single readings of one side differ by some 100 MB, as the heap's gaps fall; so the sides
take turns, and the medians count. Of the command's descendants the one with the largest memory is the worker that
executes the run.

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
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from tests.performance import common

READ_SECONDS = 0.025
LIMIT_MB = 150
FEW = {"rps": 320, "rps-test-set": 372}
"""Images of each official split on the small side."""

EPOCHS = 8
"""Of the small side: 8 x 9 steps of its 272 training images; all of rps has 2,143, 67 steps."""


def some_of(data: Path, target: Path) -> None:
    """Lay out rps with a few images of each class, as links: every so many-th, so that all clips are there."""
    for split, count in FEW.items():
        files = sorted((data / "rps" / split).glob("*/*.*"))
        for number in range(count):
            file = files[number * len(files) // count]
            link = target / "rps" / split / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def kilobytes(process: int, file: str) -> dict[str, int]:
    """Return the sizes that a file of /proc/PID tells, by name, bytes; nothing once the process has ended."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


def peaks(data: Path, folder: Path, options: list[str]) -> dict[str, float]:
    """Run the benchmark once and return the worker's peaks, MB, and the number of readings."""
    command = common.matrix_command(data, folder / "results", options, "--workers", "1")
    variables = {**os.environ, "BENCHMARK_CACHE_DIR": str(folder / "cache")}
    found: dict[int, dict[str, float]] = {}
    readings = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables) as running:
        while running.poll() is None:
            for child in psutil.Process(running.pid).children(recursive=True):
                peak = found.setdefault(child.pid, {"private MB": 0.0, "Private_Dirty MB": 0.0, "USS MB": 0.0})
                now = {"private MB": kilobytes(child.pid, "status").get("RssAnon", 0)}
                if readings % 40 == 0:
                    rollup = kilobytes(child.pid, "smaps_rollup")
                    now["Private_Dirty MB"] = rollup.get("Private_Dirty", 0)
                    now["USS MB"] = rollup.get("Private_Dirty", 0) + rollup.get("Private_Clean", 0)
                for word, size in now.items():
                    peak[word] = max(peak[word], size / 1e6)
            readings += 1
            time.sleep(READ_SECONDS)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {running.returncode}")
    return {**max(found.values(), key=lambda peak: peak["private MB"]), "readings": readings}


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="timm/mobilenetv3_small_050")
    parser.add_argument("--policy", default="scratch")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    settings = [f"models=[{options.model}]", f"weights={options.weights}", f"policies=[{options.policy}]"]
    settings += ["datasets=[rps]", "input_modes=[rgb]", "seeds=[0]", "training.image_size=224"]
    settings += ["training.early_stopping=null", "training.head_epochs=1"]
    stages = 2 if options.policy in ("finetune", "finetune-bn-train") else 1
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        some_of(options.data_dir, folder / "data")
        sides = {"2892": (options.data_dir, stages), "692": (folder / "data", EPOCHS * stages)}
        rows = [
            (name, peaks(data, folder / f"{name}-{number}", [*settings, f"training.epochs={epochs}"]))
            for number in range(options.rounds)
            for name, (data, epochs) in sides.items()
        ]

    def added(word: str) -> float:
        whole, few = (median(peak[word] for side, peak in rows if side == name) for name in sides)
        return whole - few

    common.conclude(
        f"private memory added by the dataset, {options.model}, {options.policy}",
        added("private MB") / LIMIT_MB,
        f"<= 1 ({LIMIT_MB} MB)",
        [{"images": name, **peak} for name, peak in rows],
        added_private_mb=round(added("private MB"), 1),
        added_private_dirty_mb=round(added("Private_Dirty MB"), 1),
        added_uss_mb=round(added("USS MB"), 1),
    )


if __name__ == "__main__":
    main()
