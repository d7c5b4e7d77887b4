"""Augmentation of a batch, with separate random numbers per image.

The result for an image depends only on its seed and its pixels, not on its position in the batch, on other images or on
the device's random state. Random numbers are drawn on the CPU; the pixels may be on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from benchmark.matrix.augmentations import NEED_COLOUR, Step
from benchmark.seeding import derive_seed

Generators = Sequence[np.random.Generator]
Row = tuple[Tensor | float, Tensor | float, Tensor | float]
_LUMA = (19595, 38470, 7471)


def augment(images: Tensor, steps: Sequence[Step], seeds: Sequence[int], crop_size: int | None = None) -> Tensor:
    """Return the images with every step applied, in order.

    Args:
        images: uint8, shape (n, channels, height, width), 1 or 3 channels; not changed.
        steps: from `augmentations.parse`.
        seeds: n seeds; equal image, seed and steps give equal pixels.
        crop_size: pixels per side after a random crop, or None to keep the image size.

    Returns:
        uint8, the same shape (except after a crop with ``crop_size``), on the same device.

    Raises:
        ValueError: a step needs colour and the images have one channel, or the shapes do not fit.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) != len(seeds):
        raise ValueError(
            f"expected uint8 images of shape (n, channels, height, width) and n seeds, "
            f"got {images.dtype} of {tuple(images.shape)} and {len(seeds)}"
        )
    for position, step in enumerate(steps):
        if step.name in NEED_COLOUR and images.shape[1] != 3:
            raise ValueError(f"augmentation {step.name} needs colour, the images have {images.shape[1]} channel")
        generators = [np.random.default_rng(derive_seed(seed, step.name, position)) for seed in seeds]
        if step.name == "crop":
            images = _crop(images, step, generators, crop_size)
        else:
            images = _OPERATIONS[step.name](images, step, generators)
    return images


def _uniform(generators: Generators, low: float, high: float, images: Tensor) -> Tensor:
    """Return one number per image, float32, shape (n, 1, 1, 1), on the images' device."""
    drawn = np.array([rng.uniform(low, high) for rng in generators], dtype=np.float32)
    return torch.from_numpy(drawn).to(images.device).reshape(-1, 1, 1, 1)


def _choose(generators: Generators, probability: float, images: Tensor) -> Tensor:
    return _uniform(generators, 0.0, 1.0, images) < probability


def _to_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _luma(images: Tensor) -> Tensor:
    """Return grey values as in Pillow's ``L``: uint8, one channel; one-channel images are returned unchanged."""
    if images.shape[1] == 1:
        return images
    wide = images.to(torch.int32)
    weighted = sum(weight * wide[:, channel : channel + 1] for channel, weight in enumerate(_LUMA))
    return ((torch.as_tensor(weighted) + 32768) >> 16).to(torch.uint8)


def _resampled(images: Tensor, x: Row, y: Row, fill: str = "reflection", size: int | None = None) -> Tensor:
    """Sample each image at affinely mapped output points; coordinates are -1..1, x and y are the rows of the map."""
    numbers = [
        number if isinstance(number, Tensor) else images.new_full((len(images), 1, 1, 1), number, dtype=torch.float32)
        for number in (*x, *y)
    ]
    matrices = torch.cat(numbers, dim=-1).reshape(-1, 2, 3)
    shape = [*images.shape[:2], *((size, size) if size else images.shape[2:])]
    grid = functional.affine_grid(matrices, shape, align_corners=False)
    sampled = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode=fill, align_corners=False)
    return _to_bytes(sampled)


def _flip(images: Tensor, step: Step, generators: Generators) -> Tensor:
    flipped = images.flip(3 if step.name == "hflip" else 2)
    return torch.where(_choose(generators, step["probability"], images), flipped, images)


def _resize(images: Tensor, step: Step, generators: Generators) -> Tensor:
    size = [images.shape[2], images.shape[3]]
    results = []
    for image, rng in zip(images, generators, strict=True):
        share = rng.uniform(step["low"], 1.0)
        small = vision.resize(image, [max(1, round(share * side)) for side in size], antialias=True)
        results.append(vision.resize(small, size, antialias=True))
    return torch.stack(results)


def _crop(images: Tensor, step: Step, generators: Generators, size: int | None) -> Tensor:
    area = _uniform(generators, step["area"], 1.0, images)
    ratio = _uniform(generators, np.log(3 / 4), np.log(4 / 3), images).exp()
    width, height = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    dx = _uniform(generators, -1.0, 1.0, images) * (1 - width)
    dy = _uniform(generators, -1.0, 1.0, images) * (1 - height)
    return _resampled(images, (width, 0, dx), (0, height, dy), size=size)


def _rotate(images: Tensor, step: Step, generators: Generators) -> Tensor:
    angle = _uniform(generators, -step["degrees"], step["degrees"], images).deg2rad()
    sides = images.shape[2] / images.shape[3]
    return _resampled(images, (angle.cos(), -angle.sin() * sides, 0), (angle.sin() / sides, angle.cos(), 0))


def _translate(images: Tensor, step: Step, generators: Generators) -> Tensor:
    dx, dy = (2 * _uniform(generators, -step["share"], step["share"], images) for _ in range(2))
    return _resampled(images, (1, 0, dx), (0, 1, dy))


def _scale(images: Tensor, step: Step, generators: Generators) -> Tensor:
    inverse = 1 / _factor(images, step, generators)
    return _resampled(images, (inverse, 0, 0), (0, inverse, 0))


def _pad(images: Tensor, step: Step, generators: Generators) -> Tensor:
    inverse = 1 + 2 * _uniform(generators, 0.0, step["share"], images)
    return _resampled(images, (inverse, 0, 0), (0, inverse, 0), fill="zeros")


def _factor(images: Tensor, step: Step, generators: Generators) -> Tensor:
    return _uniform(generators, 1 - step["strength"], 1 + step["strength"], images)


def _brightness(images: Tensor, step: Step, generators: Generators) -> Tensor:
    return _to_bytes(images * _factor(images, step, generators))


def _contrast(images: Tensor, step: Step, generators: Generators) -> Tensor:
    mean = _luma(images).float().mean(dim=(1, 2, 3), keepdim=True)
    return _to_bytes(mean + (images - mean) * _factor(images, step, generators))


def _saturation(images: Tensor, step: Step, generators: Generators) -> Tensor:
    luma = _luma(images).float()
    return _to_bytes(luma + (images - luma) * _factor(images, step, generators))


def _hue(images: Tensor, step: Step, generators: Generators) -> Tensor:
    turns = [rng.uniform(-step["turns"], step["turns"]) for rng in generators]
    return torch.stack([vision.adjust_hue(image, turn) for image, turn in zip(images, turns, strict=True)])


def _noise(images: Tensor, step: Step, generators: Generators) -> Tensor:
    drawn = np.stack([rng.standard_normal(tuple(images.shape[1:]), dtype=np.float32) for rng in generators])
    return _to_bytes(images + step["sigma"] * torch.from_numpy(drawn).to(images.device))


def _random_greyscale(images: Tensor, step: Step, generators: Generators) -> Tensor:
    return torch.where(_choose(generators, step["probability"], images), _luma(images).expand_as(images), images)


_OPERATIONS: Mapping[str, Callable[[Tensor, Step, Generators], Tensor]] = {
    "resize": _resize,
    "hflip": _flip,
    "vflip": _flip,
    "rotation": _rotate,
    "translation": _translate,
    "scaling": _scale,
    "padding": _pad,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "noise": _noise,
    "random-greyscale": _random_greyscale,
}
