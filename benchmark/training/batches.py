"""Batches: from decoded uint8 images to what the first convolution takes, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from benchmark.data.dataset import Split
from benchmark.matrix.augmentations import Step
from benchmark.seeding import derive_seed
from benchmark.training.augment import augment
from benchmark.training.devices import preparing_threads, to_device

Batch = tuple[Tensor, Tensor]

EVALUATION_BATCHES = {"cpu": 64, "cuda": 256}
"""Images a batch in evaluation, by kind of device; fixed, because the size of a batch can change the last bits of the
logits. On a CPU, 128 images of EfficientNet-Lite0 at 96 px are 1 % faster than 64, but a run needs 300 MB more."""


def evaluation_batch(device: torch.device) -> int:
    """Return the images a batch in evaluation."""
    return EVALUATION_BATCHES[device.type]


class Normaliser:
    """Turns stored images into the network's input.

    x_c = (v / 255 - mean_c) / std_c for stored value v; one stored channel serves every network channel: it is
    repeated as a stride-0 view, and becomes memory only in the arithmetic.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.channels = len(mean)
        self._shift = torch.tensor([255 * m for m in mean], dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self._scale = torch.tensor([255 * s for s in std], dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            images: uint8, shape (n, 1 or channels, h, w).

        Returns:
            float32, shape (n, channels, h, w), channels-last in memory.

        Raises:
            ValueError: the stored channels are neither one nor the network's.
        """
        stored = images.shape[1]
        if stored not in (1, self.channels):
            raise ValueError(f"images of {stored} channels cannot feed a network of {self.channels}")
        pixels = images.float().expand(-1, self.channels, -1, -1)
        return ((pixels - self._shift) / self._scale).contiguous(memory_format=torch.channels_last)


class Source(Protocol):
    """What a network is trained and evaluated on, in whole batches by list of positions."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> Tensor:
        """int64, shape (n,), on the device."""
        ...

    @property
    def threads(self) -> int:
        """How many threads prepare batches ahead of time; 0: a batch takes no time worth it."""
        ...

    def augment(self, steps: Sequence[Step], seed: int, epoch: int) -> None:
        """Show what these steps make of it from now on."""
        ...

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (inputs, labels)."""
        ...


class SplitImages(Dataset[Batch]):
    """A split on a device; whole batches by list of positions.

    Args:
        images: uint8, shape (N, h, w, channels): the decoded dataset.
        split: which of its rows, with labels.
        normaliser: applied to each batch.
        device: where batches go.
        crop: pixels a side of the central part that is shown; None: all. A random crop among the augmentations gives
            images of this size itself.
        resident: keep the stored images on the device (`precision.keeps_images`); otherwise each batch is moved there.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        split: Split,
        normaliser: Normaliser,
        device: torch.device,
        crop: int | None = None,
        *,
        resident: bool = False,
    ) -> None:
        self._images = images
        self._rows = split.rows
        self._on_device = torch.from_numpy(images[split.rows]).to(device) if resident else None
        self._labels = torch.from_numpy(split.labels.copy()).to(device)
        self._normalise = normaliser
        self._device = device
        self._crop = crop
        self._steps: tuple[Step, ...] = ()
        self._seed = 0
        self._epoch = 0
        self._mirrored: Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Tensor:
        """int64, shape (n,), on the device."""
        return self._labels

    @property
    def threads(self) -> int:
        """Some where images are augmented one by one, or moved to a GPU batch by batch; else 0."""
        streamed = self._device.type != "cpu" and self._on_device is None
        return preparing_threads(self._device) if self._steps or streamed else 0

    def augment(self, steps: Sequence[Step], seed: int, epoch: int) -> None:
        """Show augmented images from now on, decided per image by (seed, epoch, position) alone.

        The horizontal flip comes first, drawn for all images at once; the other steps follow in their order. They are
        the same for an image whatever batch it is in, and in every cell that shares the seed.

        Args:
            steps: what to do; none: nothing.
            seed: the run's.
            epoch: 1-based, over all stages.
        """
        flips = [step["probability"] for step in steps if step.name == "hflip"]
        self._mirrored = mirrored_positions(len(self), seed, epoch, *flips).to(self._device) if flips else None
        self._steps = tuple(step for step in steps if step.name != "hflip")
        self._seed, self._epoch = seed, epoch

    def plain(self, positions: list[int], *, mirrored: bool = False) -> Tensor:
        """Return images without augmentation, all of them mirrored or none: float32 (len, channels, h, w)."""
        stored = self._central(self._stored(positions, to_device(torch.tensor(positions), self._device)))
        return self._normalise(stored.flip(-1) if mirrored else stored)

    def _stored(self, positions: list[int], where: Tensor) -> Tensor:
        if self._on_device is not None:
            return self._on_device[where].permute(0, 3, 1, 2)
        return to_device(torch.from_numpy(self._images[self._rows[positions]]), self._device).permute(0, 3, 1, 2)

    def _central(self, images: Tensor) -> Tensor:
        if self._crop is None or images.shape[-1] == self._crop:
            return images
        first = (images.shape[-1] - self._crop) // 2
        return images[:, :, first : first + self._crop, first : first + self._crop]

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (images, labels): float32 (len, channels, h, w) and int64 (len,), on the device."""
        where = to_device(torch.tensor(positions), self._device)
        stored = self._stored(positions, where)
        if self._mirrored is not None:
            stored = torch.where(self._mirrored[where].view(-1, 1, 1, 1), stored.flip(-1), stored)
        if self._steps:
            seeds = [derive_seed(self._seed, "augment", self._epoch, position) for position in positions]
            stored = augment(stored, self._steps, seeds, self._crop)
        return self._normalise(self._central(stored)), self._labels[where]


@dataclass(frozen=True)
class Images:
    """The three splits on the device."""

    train: Source
    validation: Source
    test: Source


class EpochOrder(Sampler[int]):
    """The order of the training images, new in each epoch, decided by (seed, epoch) alone.

    A last batch of a single image is left out of its epoch: batch norm has no variance over one value. Which image
    that is changes with the order.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self._images = images
        self._length = images - 1 if images % batch_size == 1 and images > 1 and batch_size > 1 else images
        self._seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", self.epoch))
        return iter(torch.randperm(self._images, generator=generator).tolist()[: self._length])


def mirrored_positions(images: int, seed: int, epoch: int, probability: float = 0.5) -> Tensor:
    """Return which training images an epoch shows mirrored: bool, shape (images,).

    Drawn per image from (seed, epoch), so that every cell with this seed mirrors the same images.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "mirror", epoch))
    return torch.rand(images, generator=generator) < probability
