"""Measurement 5: private memory of one run, against the bare loop's and as the dataset grows.

    python -m tests.performance.memory run     --data-dir DIR [--rounds 3] [--mode MODE] [--epochs 1]
    python -m tests.performance.memory dataset --data-dir DIR [--rounds 3] [--set models=[M]] [--set policies=[P]]

``run``: peak unique set size over that of the bare loop; goal 1.15 at most. The run is complete, with its evaluations
and its progress on disk. Libraries and decoded images are mapped from files and shared.

``dataset``: peak ``RssAnon`` of a run on all of rps over that of one on an eighth of it; goal 150 MB more at most. Each
side is one run: rps, rgb, 224 px, batch 32, one epoch, its images decoded before; once on all 2,892 images (435 MB as
stored), once on every eighth image of each split, eight times over (54 MB). So both sides have the same steps and
evaluations in the same order: workers keep freed memory (`environment`), and how its gaps fall differs by some 100 MB
between orders. A run that held its images in memory would need 381 MB more on the first side. Clean pages of the mapped
cache file are not counted: they belong to the system's page cache, are shared by all runs on the dataset, and are given
up without a write as soon as anybody needs memory. As long as a single process has touched them, they are in its unique
set size: that is printed too, and does grow by the dataset.

The sides take turns; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics

from tests.performance import common

LIMIT_MB = 150
RPS = ["datasets=[rps]", "training.image_size=224", "models=[timm/mobilenetv3_small_050]", "weights=none"]
RPS += ["policies=[scratch]"]
SHARES = {"all": 1, "an eighth": 8}


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__, rounds=3, mode="grey-3ch")
    parser.add_argument("what", choices=("run", "dataset"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--set", dest="others", action="append", default=[], help="other values of the matrix cpu")
    options = parser.parse_args()
    if options.what == "run":
        against_the_bare_loop(options)
    else:
        added_by_the_dataset(options)


def against_the_bare_loop(options: argparse.Namespace) -> None:
    """Compare a run with the bare loop."""
    given = ["--data-dir", options.data_dir, "--mode", options.mode, "--epochs", options.epochs]
    rounds = []
    for _ in range(options.rounds):
        ours = common.child("harness_run", *given, "--what", "all", memory=True).peaks["USS"]
        floor = common.child("bare_loop", *given, "--what", "train", memory=True).peaks["USS"]
        rounds.append({"ratio": ours / floor, "harness MB": ours, "bare loop MB": floor})
    ratios = [row["ratio"] for row in rounds]
    common.conclude(
        f"peak private memory, {options.mode}",
        statistics.median(ratios),
        "<= 1.15",
        rounds,
        ratios=common.spread(ratios),
    )


def added_by_the_dataset(options: argparse.Namespace) -> None:
    """Compare a run on all of rps with one on an eighth of it."""
    others = [*RPS, *options.others]
    common.opened(common.spec("rgb", 1, others), options.data_dir)
    given = ["--data-dir", options.data_dir, "--mode", "rgb", "--what", "all"]
    given += [word for value in others for word in ("--set", value)]
    rounds = [
        {side: common.child("harness_run", *given, "--share", k, memory=True).peaks for side, k in SHARES.items()}
        for _ in range(options.rounds)
    ]
    added = {
        name: [sides["all"][name] - sides["an eighth"][name] for sides in rounds]
        for name in ("RssAnon", "Private_Dirty", "USS")
    }
    common.conclude(
        f"private memory added by the dataset, {' '.join(others)}",
        statistics.median(added["RssAnon"]) / LIMIT_MB,
        f"<= 1 ({LIMIT_MB} MB)",
        [{"of rps": side, **peaks} for sides in rounds for side, peaks in sides.items()],
        **{f"added_{name}_mb": common.spread(values, 1) for name, values in added.items()},
    )


if __name__ == "__main__":
    main()
