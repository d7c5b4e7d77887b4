"""Batches prepared by threads while the network is busy with those before; the same batches, in the same order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from benchmark.batches import Batch, Source

Prepared = tuple[Batch, torch.cuda.Event | None]
"""A batch, and what a GPU must have reached before it can be used; None on a CPU."""


class Prefetched(Dataset[Batch]):
    """A source whose batches are prepared before they are asked for, where the source says that this takes long.

    On a GPU each thread has a stream of its own, so that copies and augmentations run beside the network's kernels.

    Args:
        source: what is shown.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._of_thread = threading.local()
        self._crew: ThreadPoolExecutor | None = None
        self._coming: Iterator[list[int]] = iter(())
        self._pending: deque[tuple[list[int], Future[Prepared]]] = deque()

    def __len__(self) -> int:
        return len(self._source)

    def expect(self, batches: Sequence[list[int]]) -> None:
        """Begin to prepare these batches; from now on they are asked for in this order."""
        self._pending.clear()
        self._coming = iter(batches)
        threads = self._source.threads
        self._crew = ThreadPoolExecutor(threads, thread_name_prefix="batches") if threads else None
        for _ in range(threads + 1):
            self._prepare_next()

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return the next batch.

        Raises:
            RuntimeError: it is not the one that was expected next.
        """
        if self._crew is None:
            return self._source.__getitems__(positions)
        expected, future = self._pending.popleft() if self._pending else (None, None)
        if future is None or expected != positions:
            raise RuntimeError("batches are asked for in another order than was announced")
        self._prepare_next()
        batch, ready = future.result()
        if ready is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(ready)
            for tensor in batch:
                tensor.record_stream(stream)
        return batch

    def _prepare_next(self) -> None:
        positions = next(self._coming, None)
        if self._crew is not None and positions is not None:
            self._pending.append((positions, self._crew.submit(self._prepare, positions)))

    def _prepare(self, positions: list[int]) -> Prepared:
        if self._source.labels.device.type != "cuda":
            return self._source.__getitems__(positions), None
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = torch.cuda.Stream()
        stream: torch.cuda.Stream = self._of_thread.stream
        with torch.cuda.stream(stream):
            return self._source.__getitems__(positions), stream.record_event()


class AnnouncedBatches(BatchSampler):
    """Batches of a sampler's positions, all of them announced to the source when an epoch begins.

    Args:
        source: told what is coming.
        order: of the positions.
        batch_size: images a batch; the last one may have fewer.
    """

    def __init__(self, source: Prefetched, order: Sampler[int], batch_size: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self._source = source

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(super().__iter__())
        self._source.expect(batches)
        return iter(batches)


def _as_it_is(batch: Any) -> Any:
    return batch


def loader(images: Source, batch_size: int, order: Sampler[int] | None = None) -> DataLoader[Batch]:
    """Return a loader without worker processes: each batch is one slice of the decoded array.

    Args:
        images: what is shown.
        batch_size: images a batch.
        order: of the positions; None: as they stand.
    """
    source = Prefetched(images)
    return DataLoader(
        cast(Dataset[Batch], source),
        batch_sampler=AnnouncedBatches(source, order or SequentialSampler(range(len(images))), batch_size),
        collate_fn=_as_it_is,
        num_workers=0,
        pin_memory=False,
    )
