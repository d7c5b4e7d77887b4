"""Parallel work on image files, with one thread per processor.

Pillow and hashlib release the interpreter's lock while they decode, resize and hash, so threads run in parallel as
processes would, without the costs of starting processes, of pipes and of crashes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with (stage, items done, items in total)."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # files per thread read before their turn, so that no thread waits for a slow file of another
_REPORTED = 32  # items between two progress reports


def processors() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int, name: str
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for every item, in order, computed by threads ahead of time.

    An error of ``work`` is raised instead of its result. When the generator is closed or raises, work that has not
    started is dropped and no thread is left.

    Args:
        work: called in the threads.
        items: read one by one, at most ``ahead`` before their turn.
        threads: number of threads.
        ahead: maximum number of results that are waiting or in progress.
        name: name of the threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_files(
    work: Callable[[Item], Result], items: Sequence[Item], *, stage: str, progress: Progress | None = None
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for every item, in order, with one thread per processor.

    Args:
        work: called in the threads; an error ends the work.
        items: one per image file.
        stage: the word passed to ``progress``.
        progress: called after every few items and after the last.
    """
    threads = processors()
    results = map_ahead(work, items, threads=threads, ahead=_AHEAD * threads, name=stage)
    for done, result in enumerate(results, 1):
        if progress is not None and (done % _REPORTED == 0 or done == len(items)):
            progress(stage, done, len(items))
        yield result
