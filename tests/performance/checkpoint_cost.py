"""What a checkpoint after each epoch costs: seconds of an epoch with it over those without; goal at most 1.02.

    python -m tests.performance.checkpoint_cost --data-dir DIR [--epochs 13] [--limit 1034]

One run on beans, everything trained, keeps its state after every second epoch only, so that both kinds take turns. An
epoch's time goes from one call of `Checkpoints.save` to the next, so that the copy and the writing during the next
epoch both fall into the time of that epoch. The first epoch is left out.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmark.training import run
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.context import RunContext
from benchmark.training.run import execute_run
from tests.performance import common

MEGABYTE = 1e6


class EverySecond(Checkpoints):
    """Checkpoints that are kept after every second epoch, with their times."""

    called: list[float]
    """When each epoch asked for a checkpoint, seconds."""
    copying: list[float]
    """Seconds in which the training waited."""
    writing: list[float]
    """Processor seconds of the thread that writes."""

    def __init__(self, folder: Path, run_id: str, identity: Mapping[str, str]) -> None:
        super().__init__(folder, run_id, identity, every=0)
        self.called, self.copying, self.writing = [], [], []
        made.append(self)

    def save(self, state: Mapping[str, Any], best_epoch: int | None, best: Mapping[str, Any]) -> None:
        began = time.perf_counter()
        self.called.append(began)
        if len(self.called) % 2:
            super().save(state, best_epoch, best)
            self.copying.append(time.perf_counter() - began)

    def _write(self, state: dict[str, Any], best_epoch: int | None, best: dict[str, Any] | None) -> None:
        began = time.thread_time()
        super()._write(state, best_epoch, best)
        self.writing.append(time.thread_time() - began)


made: list[EverySecond] = []


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=13, help="odd: then there are as many with as without")
    parser.add_argument("--limit", type=int, help="training images; default: all")
    options = parser.parse_args()
    spec = common.spec("grey-3ch", options.epochs)
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"limit": options.limit})})
    with tempfile.TemporaryDirectory() as name, patch.object(run, "Checkpoints", EverySecond):
        folder = Path(name)
        outcome = execute_run(
            spec, RunContext(options.data_dir, folder / "weights", checkpoints=folder / "checkpoints")
        )
        size = sum(file.stat().st_size for file in (folder / "checkpoints").glob("*"))
    if outcome.record.status != "done":
        raise SystemExit(f"{outcome.record.status}: {outcome.record.reason}")
    (kept,) = made
    seconds = [after - before for before, after in zip(kept.called, kept.called[1:], strict=False)]
    pairs = [(seconds[k], seconds[k + 1]) for k in range(0, len(seconds) - 1, 2)]
    ratios = [with_it / without for with_it, without in pairs]
    common.conclude(
        f"checkpoints, beans at 96 px, {outcome.record.dataset.train_images if outcome.record.dataset else 0} images",
        statistics.median(ratios),
        "<= 1.02",
        [
            {"ratio": ratio, "with, s": with_it, "without, s": without}
            for ratio, (with_it, without) in zip(ratios, pairs, strict=True)
        ],
        ratios=common.spread(ratios),
        training_waits_seconds=common.spread(kept.copying),
        writing_processor_seconds=common.spread(kept.writing),
        megabytes=round(size / MEGABYTE, 1),
    )


if __name__ == "__main__":
    main()
