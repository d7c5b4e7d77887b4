"""Work on image files in several processes: this one, and a child for each further processor.

The children are plain processes that read lines and answer lines. They import Pillow only, share no lock with the
parent, need no import guard in the caller's script, and end when the parent's end of the pipe closes, also when the
parent was killed. This process works too, while they start.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from benchmark.datasets.worker import run

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all)."""

_WORTH = 48  # items that make another process worth its start
_LARGEST = 32  # items in a chunk; towards the end they get smaller, so that the workers end together
_AHEAD = 3  # chunks that a worker is given before its first answer is read: it never waits for this process


def processors() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_files(
    task: dict[str, Any],
    items: Sequence[Any],
    *,
    stage: str,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Generator[Any, None, None]:
    """Yield ``worker.run(task, item)`` for every item, in the order in which they are finished.

    Args:
        task: what to do, as `benchmark.datasets.worker` describes; plain JSON.
        items: plain JSON values, one an image.
        stage: the word given to ``progress``.
        progress: called after every chunk of items.
        workers: processes, this one included; None: one a processor, and fewer for little work.

    Raises:
        RuntimeError: a child died (out of memory, killed) or raised; nothing it had begun is reported as done.
    """
    if not items:
        return
    count = max(1, min(workers or processors(), (len(items) + _WORTH - 1) // _WORTH))
    chunks: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
    start = 0
    while start < len(items):
        size = max(1, min(_LARGEST, (len(items) - start) // (4 * _AHEAD * count)))
        chunks.put(list(items[start : start + size]))
        start += size
    for _ in range(count):
        chunks.put(None)
    answers: queue.SimpleQueue[list[Any] | BaseException | None] = queue.SimpleQueue()
    processes = [_start() for _ in range(count - 1)]
    threads = [
        threading.Thread(target=_serve, args=(process, task, chunks, answers), daemon=True) for process in processes
    ]
    threads.append(threading.Thread(target=_work, args=(task, chunks, answers), daemon=True))
    try:
        for thread in threads:
            thread.start()
        running, done = count, 0
        while running:
            answer = answers.get()
            if answer is None:
                running -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                done += len(answer)
                if progress is not None:
                    progress(stage, done, len(items))
                yield from answer
    finally:
        with contextlib.suppress(queue.Empty):
            while True:
                chunks.get_nowait()
        for _ in threads:
            chunks.put(None)  # they end after what they have
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()


def _start() -> subprocess.Popen[str]:
    package = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": package + (os.pathsep + inherited if inherited else "")}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark.datasets.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )


def _work(
    task: dict[str, Any],
    chunks: queue.SimpleQueue[list[Any] | None],
    answers: queue.SimpleQueue[list[Any] | BaseException | None],
) -> None:
    """Do chunks in this process until they are used up. Runs in a thread of its own."""
    try:
        while (chunk := chunks.get()) is not None:
            answers.put(run(task, chunk))
        answers.put(None)
    except BaseException as error:  # handed to the caller, which raises it
        answers.put(error)


def _serve(
    process: subprocess.Popen[str],
    task: dict[str, Any],
    chunks: queue.SimpleQueue[list[Any] | None],
    answers: queue.SimpleQueue[list[Any] | BaseException | None],
) -> None:
    """Feed one worker until the chunks are used up. Runs in a thread of its own."""
    assert process.stdin is not None
    waiting = 0
    try:
        process.stdin.write(json.dumps(task) + "\n")
        while (chunk := chunks.get()) is not None:
            process.stdin.write(json.dumps(chunk) + "\n")
            process.stdin.flush()
            waiting += 1
            if waiting == _AHEAD:
                answers.put(_reply(process))
                waiting -= 1
        for _ in range(waiting):
            answers.put(_reply(process))
        process.stdin.close()
        answers.put(None)
    except BaseException as error:  # handed to the caller, which raises it
        answers.put(error)


def _reply(process: subprocess.Popen[str]) -> list[Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker on image files ended early, with exit code {process.wait()}")
    reply = json.loads(line)
    if "error" in reply:
        raise RuntimeError(f"a worker on image files failed: {reply['error']}")
    done: list[Any] = reply["done"]
    return done
