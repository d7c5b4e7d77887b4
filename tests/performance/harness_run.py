"""One run as a worker of the harness executes it, on chosen parts of the splits. A child process.

``train``: two images are evaluated in each epoch, so that the time is the training's. ``evaluate``: one epoch of two
images, after which the training images are evaluated ``--epochs`` times over (an even number), as the test split.
``all``: the run as it is. With ``--share K`` it sees every K-th image of each split only, K times over: as many steps
and evaluations in the same order, on a K-th of the data. Progress is kept after each epoch, as always.
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


def repeated(split: Split, chosen: np.ndarray) -> Split:
    """Return the images at the chosen positions of a split, with ids of their own."""
    ids = tuple(f"{number}/{split.image_ids[position]}" for number, position in enumerate(chosen))
    return Split(split.rows[chosen], split.labels[chosen], ids)


def part(split: Split, share: int) -> Split:
    """Return every so many-th image of a split, as often as it takes for the split's length."""
    return repeated(split, np.arange(0, len(split.rows), share).repeat(share)[: len(split.rows)])


def main() -> None:
    """Execute the run."""
    parser = common.parser(__doc__, mode="grey-3ch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--what", choices=("train", "evaluate", "all"), default="train")
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--set", dest="others", action="append", default=[], help="other values of the matrix cpu")
    options = parser.parse_args()
    spec = common.spec(options.mode, 1 if options.what == "evaluate" else options.epochs, options.others)

    def load() -> PreparedDataset:
        data = common.opened(spec, options.data_dir)
        train, validation, test = (part(split, options.share) for split in (data.train, data.validation, data.test))
        if options.what == "evaluate":
            test = repeated(train, np.tile(np.arange(len(train.rows)), options.epochs // 2))  # evaluated twice
            train, validation = few(train), few(validation)
        elif options.what == "train":
            validation, test = few(validation), few(test)
        return replace(data, train=train, validation=validation, test=test)

    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(options.data_dir, Path(folder) / "weights", checkpoints=Path(folder) / "checkpoints")
        record = train_and_score(spec, context, load).record
    assert record.timing is not None
    print(json.dumps(record.timing.model_dump(mode="json")))


if __name__ == "__main__":
    main()
