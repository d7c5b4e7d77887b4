"""Work on image files in several processes.

The workers are plain child processes that read lines and answer lines. They import Pillow and NumPy only, share no
lock with the parent, need no import guard in the caller's script, and end when the parent's end of the pipe closes,
also when the parent was killed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all)."""

_CHUNK = 16
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
) -> Iterator[Any]:
    """Yield ``worker.run(task, item)`` for every item, in the order in which they are finished.

    Args:
        task: what to do, as `benchmark.datasets.worker` describes; plain JSON.
        items: plain JSON values, one an image.
        stage: the word given to ``progress``.
        progress: called after every chunk of items.
        workers: processes; None: one a processor, and fewer for little work.

    Raises:
        RuntimeError: a worker died (out of memory, killed) or raised; nothing it had begun is reported as done.
    """
    if not items:
        return
    count = max(1, min(workers or processors(), (len(items) + 3 * _CHUNK - 1) // (3 * _CHUNK)))
    chunks: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
    for start in range(0, len(items), _CHUNK):
        chunks.put(list(items[start : start + _CHUNK]))
    for _ in range(count):
        chunks.put(None)
    answers: queue.SimpleQueue[list[Any] | BaseException | None] = queue.SimpleQueue()
    processes = [_start() for _ in range(count)]
    threads = [
        threading.Thread(target=_serve, args=(process, task, chunks, answers), daemon=True) for process in processes
    ]
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
