"""Part of measurement 4: seconds a run at the end of a matrix of 50 runs over those at its beginning; goal within 5 %.

    python -m tests.performance.growth_of_runs --data-dir DIR [--runs 50] [--limit 64] [--workers 2]

The runs are equal but for their seed: beans at 96 px, EfficientNet-Lite0, one epoch on a few training images, executed
by ``python -m benchmark run``. Each run's seconds are its record's. The first run of each worker, which loads
libraries' parts on the way, is shown apart. The ratio is that of the last fifth's median to the first fifth's. The
command's seconds outside the runs are shown as well.
"""

from __future__ import annotations

import statistics
import tempfile

from tests.performance import common


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--limit", type=int, default=64, help="training images of each run")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    overrides = [f"datasets=[{{name: beans, limit: {options.limit}}}]", "input_modes=[grey-1ch]"]
    overrides += ["policies=[finetune-whole]", f"seeds={list(range(options.runs))}"]
    overrides += ["training.epochs=1", "training.head_epochs=1"]
    with tempfile.TemporaryDirectory() as folder:
        workers = ["--workers", str(options.workers)]
        whole = common.executed(common.matrix_command(options.data_dir, folder, overrides, *workers))
        records = common.records(folder)
    seconds = [record["timing"]["total_seconds"] for record in records]
    memory = [record["memory"]["peak_rss_bytes"] / 1e6 for record in records]
    first, later = seconds[: options.workers], seconds[options.workers :]
    fifth = len(later) // 5
    parts = [slice(k * fifth, (k + 1) * fifth if k < 4 else None) for k in range(5)]
    medians = [statistics.median(later[part]) for part in parts]
    ratio = medians[-1] / medians[0]
    common.conclude(
        f"growth of time per run over {options.runs} runs",
        ratio,
        "0.95 to 1.05",
        [
            {
                "ratio": median / medians[0],
                "fifth of the runs": k + 1,
                "s a run": median,
                "peak MB": statistics.median(memory[options.workers :][parts[k]]),
            }
            for k, median in enumerate(medians)
        ],
        seconds_by_fifth=[round(median, 3) for median in medians],
        first_runs=[round(value, 2) for value in first],
        outside_runs=round(whole - sum(seconds) / options.workers, 1),
    )


if __name__ == "__main__":
    main()
