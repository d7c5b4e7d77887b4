"""Measurement 1: images per second of a run of the harness over those of a bare loop; goal 0.97 at least.

    python -m tests.performance.efficiency --data-dir DIR [--what train|evaluate] [--rounds 3] [--epochs N] [--mode M]

Images per second are the slope of whole-process time between N and 2N epochs, so that starting, decoding and loading
weights drop out. The harness (flips, logging, history, best weights, progress on disk after each epoch) and the bare
loop (batches normalised in memory, no flips, nothing else) have the same model, optimizer, batch size, one thread and
environment variables. The four processes of a round take turns of half a second, because a shared machine's speed
changes by a fifth within minutes. Of the rounds' ratios the median counts. ``--what evaluate`` does the same for
evaluation, against a bare inference loop: N and 2N passes over the images in one epoch.
"""

from __future__ import annotations

import statistics

from tests.performance import common

IMAGES = 1034
"""Training images of beans."""


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__, rounds=3, mode="grey-3ch")
    parser.add_argument("--what", choices=("train", "evaluate"), default="train")
    parser.add_argument("--epochs", type=int, help="N; each side is run for N and for 2N (default 1; evaluation 4)")
    options = parser.parse_args()
    fixed = ["--data-dir", options.data_dir, "--mode", options.mode, "--what", options.what]
    epochs = options.epochs or (1 if options.what == "train" else 4)
    images, lengths = IMAGES * epochs, (epochs, 2 * epochs)
    rates: dict[str, list[float]] = {"harness_run": [], "bare_loop": []}
    for _ in range(options.rounds):
        seconds = common.taking_turns([[side, *fixed, "--epochs", n] for side in rates for n in lengths])
        for measured, short, long in zip(rates.values(), seconds[::2], seconds[1::2], strict=True):
            measured.append(images / (long - short))
    ratios = [ours / floor for ours, floor in zip(rates["harness_run"], rates["bare_loop"], strict=True)]
    common.conclude(
        f"efficiency, {options.what}, {options.mode}",
        statistics.median(ratios),
        ">= 0.97",
        [
            {"ratio": ratio, "harness images/s": ours, "bare loop images/s": floor}
            for ratio, ours, floor in zip(ratios, *rates.values(), strict=True)
        ],
        ratios=common.spread(ratios),
        harness=common.spread(rates["harness_run"], 1),
        bare_loop=common.spread(rates["bare_loop"], 1),
    )


if __name__ == "__main__":
    main()
