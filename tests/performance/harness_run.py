"""One run as a worker of the harness executes it, on chosen parts of the splits. A child process.

``train``: two images are evaluated in each epoch, so that the time is the training's. ``evaluate``: one epoch of two
images, after which the training images are evaluated ``--epochs`` times over, as the test split. ``all``: the run as
it is. Progress is kept after each epoch, as always.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.data.dataset import PreparedDataset, Split
from benchmark.training.context import RunContext
from benchmark.training.run import train_and_score
from tests.performance import common

FEW = 2


def few(split: Split) -> Split:
    """Return the first two images of a split."""
    return Split(split.rows[:FEW], split.labels[:FEW], split.image_ids[:FEW])


def repeated(split: Split, times: int) -> Split:
    """Return a split's images so many times over."""
    ids = tuple(f"{number}/{name}" for number in range(times) for name in split.image_ids)
    return Split(np.tile(split.rows, times), np.tile(split.labels, times), ids)


def main() -> None:
    """Execute the run."""
    parser = common.parser(__doc__)
    parser.add_argument("--mode", default="grey-3ch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--what", choices=("train", "evaluate", "all"), default="train")
    options = parser.parse_args()
    spec = common.spec(options.mode, 1 if options.what == "evaluate" else options.epochs)

    def opened() -> PreparedDataset:
        data = common.opened(spec, options.data_dir)
        if options.what == "train":
            return replace(data, validation=few(data.validation), test=few(data.test))
        if options.what == "evaluate":
            test = repeated(data.train, options.epochs)
            return replace(data, train=few(data.train), validation=few(data.validation), test=test)
        return data

    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(options.data_dir, Path(folder) / "weights", checkpoints=Path(folder) / "checkpoints")
        record = train_and_score(spec, context, opened).record
    assert record.timing is not None
    print(json.dumps(record.timing.model_dump(mode="json")))


if __name__ == "__main__":
    main()
