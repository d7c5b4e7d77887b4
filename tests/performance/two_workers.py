"""Seconds of a matrix by two workers of one thread over those by one worker of two threads; goal at most 1.

    python -m tests.performance.two_workers --data-dir DIR [--rounds 2] [--limit 192] [--epochs 2]

Four runs on beans (grey-3ch and grey-1ch, two seeds, everything trained) by ``python -m benchmark run``, its start and
its report included; images are decoded before. The sides take turns, in the other order in every second round.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.performance import common

SIDES = {"two workers": (2, 1), "two threads": (1, 2)}
"""Workers, and threads of each."""


def seconds(workers: int, threads: int, overrides: list[str], data_dir: Path) -> float:
    """Execute the matrix in a results folder of its own; return the seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [*overrides, f"threads={threads}"]
        return common.executed(common.matrix_command(data_dir, folder, settings, "--workers", str(workers)))


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=192, help="training images of each run")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    overrides = [f"datasets=[{{name: beans, limit: {options.limit}}}]", "input_modes=[grey-3ch, grey-1ch]"]
    overrides += ["policies=[finetune-whole]", "seeds=[0, 1]", f"training.epochs={options.epochs}"]
    overrides += ["training.head_epochs=1", "training.early_stopping=null"]
    common.opened(common.spec("grey-3ch", 1), options.data_dir)
    table = []
    for number in range(options.rounds):
        names = list(SIDES) if number % 2 == 0 else list(reversed(SIDES))
        taken = {name: seconds(*SIDES[name], overrides, options.data_dir) for name in names}
        ratio = taken["two workers"] / taken["two threads"]
        table.append({"ratio": ratio, **{f"{name}, s": taken[name] for name in SIDES}})
    ratios = [row["ratio"] for row in table]
    common.conclude(
        "two workers of one thread against one of two threads, four runs",
        statistics.median(ratios),
        "<= 1",
        table,
        ratios=common.spread(ratios),
    )


if __name__ == "__main__":
    main()
