"""Restoring a trained network from its record and kept weights, with the preprocessing it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.data.dataset import Split
from benchmark.data.decoding.pixels import count_clipped, read_file, to_array, to_image
from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks.first_half import FirstHalf
from benchmark.networks.libraries.find import find_architecture
from benchmark.records.record import DoneRun
from benchmark.training.batches import EVALUATION_BATCHES, Normaliser, SplitImages, derive_of
from benchmark.training.devices import choose_device, resolve_precision


class DecodedImage(NamedTuple):
    """One file's pixels: uint8, shape (image_size, image_size, 1 or 3).

    ``clipped`` is the number of values outside the window of the run's images, where the file should have none.
    """

    pixels: NDArray[np.uint8]
    clipped: int


@dataclass(frozen=True)
class TrainedRun:
    """A run's network with its preprocessing.

    Attributes:
        record: record of the run.
        network: the network in eval mode, on ``device``, channels-last.
        device: device of the computation.
        precision: ``fp32``, ``fp16`` or ``bf16``, as in the run; fp32 on a CPU if the run was trained on a GPU.
    """

    record: DoneRun
    network: nn.Module
    device: torch.device
    precision: str

    def decode(self, content: bytes) -> DecodedImage:
        """Return a file's pixels, decoded and resized like the images of the run.

        Raises:
            BadImage: the file cannot be decoded.
        """
        spec = self.record.spec
        windows, clip, frames = spec.source.reading
        decoded = read_file(content, frames=frames)
        image = to_image(decoded, windows, clip=clip)
        pixels = to_array(image, spec.image_size, INPUT_MODES[spec.input_mode].grey)
        return DecodedImage(pixels, 0 if clip else count_clipped(decoded, windows))

    def logits(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return logits of images treated as in the run's evaluation: float32, shape (n, classes), on the CPU.

        Args:
            pixels: uint8, shape (n, image_size, image_size, 1 or 3), from `decode`.
        """
        rows = np.arange(len(pixels))
        split = Split(rows, np.zeros_like(rows), tuple(str(row) for row in rows))
        normaliser = Normaliser(self.record.model.mean, self.record.model.std, self.device)
        spec = self.record.spec
        images = SplitImages(pixels, split, normaliser, self.device, spec.crop_size, derive=derive_of(spec))
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        parts = torch.split(torch.from_numpy(rows), EVALUATION_BATCHES[self.device.type])
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            return torch.cat([self.network(images.plain(part.tolist())).float().cpu() for part in parts])

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities as in a record's predictions: float32, shape (n, classes)."""
        shares: NDArray[np.float32] = self.logits(pixels).double().softmax(dim=1).float().numpy()
        return shares


def open_run(record: DoneRun, weights: Path, device: torch.device | None = None) -> TrainedRun:
    """Load a done run's network.

    A convolution whose bias is in the weights but not in the library's network (the stem of ``grey-1ch-folded``) gets
    one.

    Args:
        record: record of the run.
        weights: file of its kept weights.
        device: device of the computation, or None for the GPU if there is one.

    Raises:
        UserError: the file is not a safetensors file, or does not contain this run's weights.
    """
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights}: cannot be read as safetensors ({error}). Run it again with --force.") from None
    model = record.spec.model
    classes = len(record.dataset.classes)
    network = find_architecture(model).create(classes, record.model.input_channels)
    if record.spec.backbone == "first-half":
        network = FirstHalf(network, classes, record.spec.seed)
    for name in sorted(set(state) - set(network.state_dict())):
        layer = dict(network.named_modules()).get(name.removesuffix(".bias"))
        if name.endswith(".bias") and isinstance(layer, nn.Conv2d) and layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise UserError(f"{weights}: not the weights of {model} for this run ({reason}).") from None
    where = device or choose_device()
    network.eval().to(device=where, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave memory_format out
    elsewhere = where.type == "cpu" and record.environment.device != "cpu"
    precision = "fp32" if elsewhere else resolve_precision(record.spec.precision, where)
    return TrainedRun(record, network, where, precision)
