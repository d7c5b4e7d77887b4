"""Small generated images and runs for the tests of the training side."""

from __future__ import annotations

import numpy as np
import torch

from benchmark.data.dataset import PreparedDataset, Split
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import build
from benchmark.training.batches import Images, Normaliser, SplitImages

TINY = "timm/test_resnet"


def dataset(
    train: int = 40, held_out: int = 20, size: int = 32, channels: int = 1, labels: int = 2, seed: int = 0
) -> PreparedDataset:
    """Return noise with a bright square whose place tells the class; every image differs from its mirror image."""
    generator = np.random.default_rng(seed)
    total = train + 2 * held_out
    label = np.arange(total) % labels
    images = generator.integers(0, 90, (total, size, size, channels), dtype=np.uint8)
    side = size // (labels + 1)
    for position, k in enumerate(label):
        images[position, k * side : (k + 1) * side, : size // 2] = 220

    def split(first: int, last: int) -> Split:
        ids = tuple(f"image-{row}.png" for row in range(first, last))
        return Split(np.arange(first, last), label[first:last].astype(np.int64), ids)

    return PreparedDataset(
        images=images,
        classes=tuple(f"class {k}" for k in range(labels)),
        fingerprint="0" * 64,
        train=split(0, train),
        validation=split(train, train + held_out),
        test=split(train + held_out, total),
        notes=(),
        test_groups={},
    )


def spec(
    input_mode: str = "grey-1ch",
    policy: str = "finetune-whole",
    seed: int = 0,
    model: str = TINY,
    weights: str = "none",
    **training: object,
) -> RunSpec:
    """Return a run of the cpu matrix on beans, changed as given."""
    settings = {"image_size": 32, "batch_size": 8, "epochs": 3, "head_epochs": 1, **training}
    overrides = [f"training.{key}={value}" for key, value in settings.items()]
    overrides += [f"models=[{model}]", f"weights={weights}", "datasets=[beans]", f"input_modes=[{input_mode}]"]
    overrides += [f"policies=[{policy}]", f"seeds=[{seed}]"]
    (only,) = expand(file.load(file.find("cpu"), overrides))
    return only


def network_and_images(run: RunSpec, data: PreparedDataset) -> tuple[build.BuiltModel, Images]:
    """Return what `training.train` takes for a run on given images, on the CPU with one thread."""
    torch.set_num_threads(1)
    mode = INPUT_MODES[run.input_mode]
    built = build.build(run.model, mode, classes=len(data.classes), source=run.weights, seed=run.seed)
    normaliser = Normaliser(built.mean, built.std, torch.device("cpu"))
    splits = (
        SplitImages(data.images, split, normaliser, torch.device("cpu"))
        for split in (data.train, data.validation, data.test)
    )
    return built, Images(*splits)
