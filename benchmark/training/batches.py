"""Batches: decoded uint8 images as input of the first convolution, in an order decided by the seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from benchmark.data.dataset import Split
from benchmark.data.decoding.derived import derive
from benchmark.matrix.augmentations import Step
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.seeding import derive_seed
from benchmark.training.augment import augment
from benchmark.training.devices import preparing_threads, to_device

Batch = tuple[Tensor, Tensor]
Derive = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

EVALUATION_BATCHES = {"cpu": 64, "cuda": 256}
"""Images per evaluation batch, by device type. Fixed, because the batch size can change the last bits of the logits. On
a CPU, 128 images of EfficientNet-Lite0 at 96 px are 1 % faster than 64, but a run needs 300 MB more."""


class Normaliser:
    """Conversion of stored images to the network's input.

    x_c = (v / 255 - mean_c) / std_c for stored value v. A single stored channel is repeated for every network channel,
    as a view of stride 0 that needs no memory before the arithmetic.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.channels = len(mean)
        self._shift = torch.tensor([255 * m for m in mean], dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self._scale = torch.tensor([255 * s for s in std], dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch: uint8, (n, 1 or channels, h, w), to float32, (n, channels, h, w), channels-last in memory.

        Raises:
            ValueError: the stored channels are neither one nor the network's.
        """
        stored = images.shape[1]
        if stored not in (1, self.channels):
            raise ValueError(f"images with {stored} channels do not fit a network with {self.channels}")
        pixels = images.float().expand(-1, self.channels, -1, -1)
        return ((pixels - self._shift) / self._scale).contiguous(memory_format=torch.channels_last)


def derive_of(spec: RunSpec) -> Derive | None:
    """Return the function that derives three channels from a run's grey images, or None if they are used as stored."""
    how = INPUT_MODES[spec.input_mode].derived
    return None if how is None else derive(how, spec.colormap)


class Source(Dataset[Batch], ABC):
    """A split to train and evaluate on, read one complete batch per list of positions.

    Args:
        labels: int64, shape (n,), on the device.
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels
        self._mirrored: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def threads(self) -> int:
        """Number of threads that prepare batches ahead of time; 0 if preparing a batch takes almost no time."""
        return 0

    def augment(self, steps: Sequence[Step], seed: int, epoch: int) -> None:
        """Set the augmentations of the following batches, decided per image only by (seed, epoch, position).

        The horizontal flip is first and drawn for all images at once; the other steps follow in order. They are the
        same for an image in any batch, and in every cell with the same seed.

        Args:
            steps: augmentations of the run; without any, images are not changed.
            seed: seed of the run.
            epoch: 1-based, over all stages.
        """
        flips = [step["probability"] for step in steps if step.name == "hflip"]
        self._mirrored = mirrored_positions(len(self), seed, epoch, *flips).to(self.labels.device) if flips else None

    @abstractmethod
    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (inputs, labels) of a batch, on the device."""


class SplitImages(Source):
    """A split of the decoded images on a device.

    Args:
        images: the decoded dataset: uint8, shape (N, h, w, channels).
        split: rows of the split, with labels.
        normaliser: applied to each batch.
        device: device of the batches.
        crop: pixels per side of the centre crop, or None for the complete image. A random crop among the augmentations
            replaces it and has the same size.
        derive: function that derives three channels from stored grey images, applied first, or None.
        resident: whether to keep the stored images on the device (`devices.keeps_images`) instead of moving batches.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        split: Split,
        normaliser: Normaliser,
        device: torch.device,
        crop: int | None = None,
        *,
        derive: Derive | None = None,
        resident: bool = False,
    ) -> None:
        super().__init__(torch.from_numpy(split.labels.copy()).to(device))
        self._images = images
        self._derive = derive
        self.rows = split.rows
        self._on_device = self._read(self.rows).to(device) if resident else None
        self._normalise = normaliser
        self._device = device
        self._crop = crop
        self._steps: tuple[Step, ...] = ()
        self._seed = 0
        self._epoch = 0

    @property
    def threads(self) -> int:
        """Above 0 if images are augmented one by one, or moved to a GPU batch by batch."""
        streamed = self._device.type != "cpu" and self._on_device is None
        return preparing_threads(self._device) if self._steps or streamed else 0

    def augment(self, steps: Sequence[Step], seed: int, epoch: int) -> None:
        super().augment(steps, seed, epoch)
        self._steps = tuple(step for step in steps if step.name != "hflip")
        self._seed, self._epoch = seed, epoch

    @staticmethod
    def joined(parts: Sequence[SplitImages]) -> tuple[SplitImages, list[NDArray[np.int64]]]:
        """Join splits; return their images in row order and the positions of each split's images."""
        rows = np.unique(np.concatenate([part.rows for part in parts]))
        positions = [np.searchsorted(rows, part.rows) for part in parts]
        labels = np.zeros(len(rows), dtype=np.int64)
        for part, where in zip(parts, positions, strict=True):
            labels[where] = part.labels.cpu().numpy()
        first = parts[0]
        split = Split(rows, labels, ())
        every = SplitImages(first._images, split, first._normalise, first._device, first._crop, derive=first._derive)
        return every, positions

    def plain(self, positions: list[int], *, mirrored: bool = False) -> Tensor:
        """Return images without augmentation, either all mirrored or none: float32 (len, channels, h, w)."""
        stored = self._central(self._stored(positions, to_device(torch.tensor(positions), self._device)))
        return self._normalise(stored.flip(-1) if mirrored else stored)

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images before augmentation: uint8, shape (n, h, w, channels), on the CPU."""
        images = self._images[rows]
        return torch.from_numpy(images if self._derive is None else self._derive(images))

    def _stored(self, positions: list[int], where: Tensor) -> Tensor:
        if self._on_device is not None:
            return self._on_device[where].permute(0, 3, 1, 2)
        return to_device(self._read(self.rows[positions]), self._device).permute(0, 3, 1, 2)

    def _central(self, images: Tensor) -> Tensor:
        if self._crop is None or images.shape[-1] == self._crop:
            return images
        first = (images.shape[-1] - self._crop) // 2
        return images[:, :, first : first + self._crop, first : first + self._crop]

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (images, labels): float32, shape (len, channels, h, w), and int64, shape (len,), on the device."""
        where = to_device(torch.tensor(positions), self._device)
        stored = self._stored(positions, where)
        if self._mirrored is not None:
            stored = torch.where(self._mirrored[where].view(-1, 1, 1, 1), stored.flip(-1), stored)
        if self._steps:
            seeds = [derive_seed(self._seed, "augment", self._epoch, position) for position in positions]
            stored = augment(stored, self._steps, seeds, self._crop)
        return self._normalise(self._central(stored)), self.labels[where]


@dataclass(frozen=True)
class Images:
    """The splits on the device."""

    train: Source
    validation: Source
    test: Source | None
    """Missing (None) in a tuning run."""
    is_fold: bool = field(default=False, kw_only=True)
    """Whether runs with other seeds split the same images differently; features are then computed for all images."""


class EpochBatches(BatchSampler):
    """Batches of the training images, in an order decided only by (seed, epoch).

    A last batch of less than half the batch size, or of a single image, is joined to the previous batch. Its noisier
    gradient would count as much as the others and its images would dominate the running statistics of batch norms; a
    single image has no variance for batch norm.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        super().__init__(range(images), batch_size, drop_last=False)
        whole, left = divmod(images, batch_size)
        self._length = max(1, whole + (left > 1 and 2 * left >= batch_size))
        self._images = images
        self._seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", self.epoch))
        order = torch.randperm(self._images, generator=generator).tolist()
        first = range(0, self._length * self.batch_size, self.batch_size)
        return (order[start:end] for start, end in pairwise([*first, self._images]))


def mirrored_positions(images: int, seed: int, epoch: int, probability: float = 0.5) -> Tensor:
    """Return the mask of training images that are mirrored in an epoch: bool, shape (images,).

    Drawn per image from (seed, epoch), so that every cell with the same seed mirrors the same images.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "mirror", epoch))
    return torch.rand(images, generator=generator) < probability
