"""Private memory that a run needs more for 0.44 GB of decoded images than for 200 of them; goal 150 MB at most.

    python -m tests.performance.dataset_memory --data-dir DIR [--model M] [--policy P] [--weights W] [--rounds 1]

Twice ``python -m benchmark run`` in processes of its own: rps, rgb, 224 px, batch 32, one epoch, its images decoded on
the way; once on all 2,892 images (435 MB as stored), once on 200 of them, enough for whole batches in training and in
evaluation. Of the command's descendants the one with the largest memory is the worker that executes the run; its
peak is taken from readings every 25 ms.

Private memory is ``Private_Dirty`` of /proc/PID/smaps_rollup (proc(5)): anonymous memory, and what the process wrote
into its own copies of mapped pages; ``RssAnon`` of /proc/PID/status is printed beside it. Clean pages of the mapped
cache file are not counted: they belong to the system's page cache, are shared by all runs on the dataset, and are given
up without a write as soon as anybody needs memory. As long as a single process has touched them, the kernel calls them
``Private_Clean``, and they are in its unique set size: that is printed too, and does grow by the dataset.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.performance import common

READ_SECONDS = 0.025
LIMIT_MB = 150
FEW = {"rps": 128, "rps-test-set": 72}
"""Images of each official split on the small side: more than a batch of 32 in training, and of 64 in evaluation."""


def some_of(data: Path, target: Path) -> None:
    """Lay out rps with a few images of each class, as links: every so many-th, so that all clips are there."""
    for split, count in FEW.items():
        files = sorted((data / "rps" / split).glob("*/*.*"))
        for number in range(count):
            file = files[number * len(files) // count]
            link = target / "rps" / split / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def read(process: int) -> dict[str, int]:
    """Return a process's memory now, bytes; nothing once it has ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    lines = [line.split() for line in [*rollup[1:], *status] if line.endswith(" kB")]
    size = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    if "RssAnon" not in size:
        return {}
    uss = size["Private_Dirty"] + size["Private_Clean"]
    return {"private": size["Private_Dirty"], "anonymous": size["RssAnon"], "USS": uss}


def peaks(data: Path, folder: Path, options: list[str]) -> dict[str, float]:
    """Run the benchmark once and return the worker's peaks, MB, and the number of readings."""
    command = [sys.executable, "-m", "benchmark", "run", "--matrix", "cpu", "--name", "measured"]
    command += ["--data-dir", str(data), "--results", str(folder / "results"), "--workers", "1"]
    command += [word for option in options for word in ("--set", option)]
    variables = {**os.environ, "BENCHMARK_CACHE_DIR": str(folder / "cache")}
    found: dict[int, dict[str, int]] = {}
    readings = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables) as running:
        while running.poll() is None:
            began = time.perf_counter()
            for child in psutil.Process(running.pid).children(recursive=True):
                peak = found.setdefault(child.pid, {"private": 0, "anonymous": 0, "USS": 0})
                for word, size in read(child.pid).items():
                    peak[word] = max(peak[word], size)
            readings += 1
            time.sleep(max(0.0, READ_SECONDS - (time.perf_counter() - began)))
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {running.returncode}")
    worker = max(found.values(), key=lambda peak: peak["private"])
    return {**{f"{word} MB": size / 1e6 for word, size in worker.items()}, "readings": readings}


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="timm/mobilenetv3_small_050")
    parser.add_argument("--policy", default="scratch")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    settings = [f"models=[{options.model}]", f"weights={options.weights}", f"policies=[{options.policy}]"]
    settings += ["datasets=[rps]", "input_modes=[rgb]", "seeds=[0]", "training.image_size=224"]
    stages = 2 if options.policy.startswith("finetune") and options.policy != "finetune-whole" else 1
    settings += [f"training.epochs={stages}", "training.head_epochs=1"]
    rounds: list[dict[str, float | str]] = []
    added: dict[str, list[float]] = {"private MB": [], "anonymous MB": [], "USS MB": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            some_of(options.data_dir, Path(folder) / "data")
            few = peaks(Path(folder) / "data", Path(folder) / "few", settings)
            whole = peaks(options.data_dir, Path(folder) / "whole", settings)
        rounds += [{"images": "2892", **whole}, {"images": "200", **few}]
        for word, values in added.items():
            values.append(whole[word] - few[word])
    ratio = statistics.median(added["private MB"]) / LIMIT_MB
    common.conclude(
        f"private memory added by the dataset, {options.model}, {options.policy}",
        ratio,
        f"<= 1 ({LIMIT_MB} MB)",
        rounds,
        added_private_mb=common.spread(added["private MB"], 1),
        added_anonymous_mb=common.spread(added["anonymous MB"], 1),
        added_uss_mb=common.spread(added["USS MB"], 1),
    )


if __name__ == "__main__":
    main()
