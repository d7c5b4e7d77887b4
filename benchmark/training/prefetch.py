"""Preparing batches in threads ahead of time, without changing the batches or their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from benchmark.data.decoding.pool import map_ahead
from benchmark.training.batches import EVALUATION_BATCHES, Batch, Source


class PreparedBatches(BatchSampler):
    """A sampler that yields the batches of another sampler, prepared ahead of time if the source has threads for it.

    On a GPU each thread has a separate stream, so that copies and augmentations overlap with the network's kernels.
    """

    def __init__(self, source: Source, batches: BatchSampler) -> None:
        super().__init__(batches.sampler, batches.batch_size, drop_last=False)
        self._source = source
        self._batches = batches
        self._of_thread = threading.local()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        threads = self._source.threads
        batches = iter(self._batches)
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


def loader(images: Source, batches: BatchSampler | None = None) -> DataLoader[Batch]:
    """Return a loader of these batches, by default of evaluation batches in stored order; no worker processes."""
    if batches is None:
        size = EVALUATION_BATCHES[images.labels.device.type]
        batches = BatchSampler(SequentialSampler(range(len(images))), size, drop_last=False)
    prepared = cast(Any, PreparedBatches(images, batches))
    return DataLoader(_AsSampled(), batch_sampler=prepared, collate_fn=lambda batch: batch, num_workers=0)
