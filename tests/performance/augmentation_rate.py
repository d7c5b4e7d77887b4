"""Images a second that one thread prepares with each augmentation, and with all of them: what feeds the training.

    python -m tests.performance.augmentation_rate [--size 96] [--images 256]

Processor time of the thread counts, so that a busy machine matters little. The ratio is the rate with all of them over
that of a training step on one core, given by --needed (images/s; 60 for EfficientNet-Lite0 at 96 px here).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmark.data.dataset import Split
from benchmark.matrix.augmentations import AUGMENTATIONS, parse
from benchmark.training.batches import Normaliser, SplitImages
from tests.performance import common

BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--needed", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, size = options.images, options.size
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    split = Split(np.arange(count), np.zeros(count, np.int64), tuple(map(str, range(count))))
    device = torch.device("cpu")
    images = SplitImages(pixels, split, Normaliser((0.5,) * 3, (0.5,) * 3, device), device)
    rows = []
    for names in ([], *([name] for name in AUGMENTATIONS), list(AUGMENTATIONS)):
        images.augment([parse(name) for name in names], seed=0, epoch=1)
        images.__getitems__(list(range(BATCH)))
        began = time.thread_time()
        for first in range(0, count, BATCH):
            images.__getitems__(list(range(first, min(first + BATCH, count))))
        rate = count / (time.thread_time() - began)
        what = "none" if not names else names[0] if len(names) == 1 else "all"
        rows.append({"ratio": rate / options.needed, "augmentation": what, "images/s": rate})
    ratio = rows[-1]["ratio"]
    assert isinstance(ratio, float)
    rates = {str(row["augmentation"]): round(float(str(row["images/s"]))) for row in rows}
    common.conclude(f"augmentation at {size} px", ratio, "> 1", rows, rates=rates)


if __name__ == "__main__":
    main()
