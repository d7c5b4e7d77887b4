"""One run on rps at 224 px as a worker of the harness executes it. A child process of `dataset_memory`.

With ``--share K`` it is shown every K-th image of each split only, K times over: as many steps and evaluations in the
same order, on a K-th of the data.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.data.dataset import PreparedDataset, Split
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.context import RunContext
from benchmark.training.run import train_and_score
from tests.performance import common


def spec(overrides: list[str]) -> RunSpec:
    """Return the run: rps, rgb, one epoch, and what is asked for."""
    settings = ["datasets=[rps]", "input_modes=[rgb]", "seeds=[0]", "training.image_size=224", "training.epochs=1"]
    settings += ["training.early_stopping=null", "training.head_epochs=1"]
    (only,) = expand(file.load(file.find("cpu"), [*settings, *overrides]))
    return only


def part(split: Split, share: int) -> Split:
    """Return every so many-th image of a split, as often as it takes for the split's length."""
    rows = np.arange(0, len(split.rows), share).repeat(share)[: len(split.rows)]
    ids = tuple(f"{number}/{split.image_ids[row]}" for number, row in enumerate(rows))
    return Split(split.rows[rows], split.labels[rows], ids)


def main() -> None:
    """Execute the run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    options = parser.parse_args()
    run = spec(options.overrides)

    def shown() -> PreparedDataset:
        data = common.opened(run, options.data_dir)
        train, validation, test = (part(split, options.share) for split in (data.train, data.validation, data.test))
        return replace(data, train=train, validation=validation, test=test)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = RunContext(options.data_dir, folder / "weights", checkpoints=folder / "checkpoints")
        train_and_score(run, context, shown)


if __name__ == "__main__":
    main()
