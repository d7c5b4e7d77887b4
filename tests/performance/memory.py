"""Measurement 5: peak private memory of one run of the harness over that of the bare loop; goal 1.15 at most.

    python -m tests.performance.memory --data-dir DIR [--rounds 3] [--epochs 1] [--mode MODE]

Private: what a process shares with no other (libraries and the decoded images are mapped from files and shared), read
every 50 ms. The run is whole, with its evaluations and its progress on disk.
"""

from __future__ import annotations

import statistics

from tests.performance import common


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--mode", default="grey-3ch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    fixed = ["--data-dir", options.data_dir, "--mode", options.mode, "--epochs", options.epochs]
    rounds = []
    for _ in range(options.rounds):
        ours = common.child("harness_run", *fixed, "--what", "all", memory=True).peak_bytes / 1e6
        floor = common.child("bare_loop", *fixed, "--what", "train", memory=True).peak_bytes / 1e6
        rounds.append({"ratio": ours / floor, "harness MB": ours, "bare loop MB": floor})
    ratios = [row["ratio"] for row in rounds]
    common.conclude(
        f"peak private memory, {options.mode}",
        statistics.median(ratios),
        "<= 1.15",
        rounds,
        ratios=common.spread(ratios),
        harness_mb=common.spread([row["harness MB"] for row in rounds], 0),
        bare_loop_mb=common.spread([row["bare loop MB"] for row in rounds], 0),
    )


if __name__ == "__main__":
    main()
