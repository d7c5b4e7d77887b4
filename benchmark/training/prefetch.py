"""Batches prepared by threads ahead of time: the same batches, in the same order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from benchmark.data.decoding.pool import map_ahead
from benchmark.training.batches import Batch, Source


class PreparedBatches(BatchSampler):
    """A sampler whose items are the batches themselves, prepared ahead of time where the source says so.

    On a GPU each thread has a stream of its own, so that copies and augmentations run next to the network's kernels.
    """

    def __init__(self, source: Source, order: Sampler[int], batch_size: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self._source = source
        self._of_thread = threading.local()

    def __iter__(self) -> Iterator[Any]:
        threads = self._source.threads
        batches = super().__iter__()
        if not threads:
            yield from map(self._source.__getitems__, batches)
            return
        for batch, ready in map_ahead(self._prepare, batches, threads=threads, ahead=threads + 1, name="batches"):
            if ready is not None:
                stream = torch.cuda.current_stream()
                stream.wait_event(ready)
                for tensor in batch:
                    tensor.record_stream(stream)
            yield batch

    def _prepare(self, positions: list[int]) -> tuple[Batch, torch.cuda.Event | None]:
        """Return a batch, and the event after which a GPU can use it, or None on a CPU."""
        if self._source.labels.device.type != "cuda":
            return self._source.__getitems__(positions), None
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream()
        stream: torch.cuda.Stream = self._of_thread.stream
        with torch.cuda.stream(stream):
            return self._source.__getitems__(positions), stream.record_event()


class _AsSampled(Dataset[Batch]):
    """The items of `PreparedBatches`, unchanged."""

    def __getitems__(self, batch: Any) -> Any:
        return batch


def loader(images: Source, batch_size: int, order: Sampler[int] | None = None) -> DataLoader[Batch]:
    """Return a loader without worker processes, in the stored order unless another is given."""
    batches = PreparedBatches(images, order or SequentialSampler(range(len(images))), batch_size)
    return DataLoader(_AsSampled(), batch_sampler=cast(Any, batches), collate_fn=lambda batch: batch, num_workers=0)
