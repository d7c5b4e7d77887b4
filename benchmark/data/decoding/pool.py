"""Work on image files in threads, one per processor.

Pillow and hashlib release the interpreter's lock while they decode, resize and hash, so that threads share the work as
processes would, without their start, their pipes and their crashes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all)."""

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4  # files per thread that are read before their turn: no thread waits for a slow file of another
_REPORTED = 32  # items between two reports of progress


def processors() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int, name: str
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for every item, in order, prepared by threads before it is asked for.

    An error of ``work`` is raised in place of its result. When the generator is closed or raises, work that was not
    begun is dropped and no thread is left.

    Args:
        work: called in the threads.
        items: taken one by one, at most ``ahead`` before their turn.
        threads: their number.
        ahead: largest number of results that wait to be taken, or are in progress.
        name: of the threads.
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
        stage: the word given to ``progress``.
        progress: called after every few items and after the last.
    """
    threads = processors()
    results = map_ahead(work, items, threads=threads, ahead=_AHEAD * threads, name=stage)
    for done, result in enumerate(results, 1):
        if progress is not None and (done % _REPORTED == 0 or done == len(items)):
            progress(stage, done, len(items))
        yield result
