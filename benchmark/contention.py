"""A stopwatch that also tells whether what it timed had its processors to itself: only then do seconds compare."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

CONTENDED_SHARE = 0.05
"""Share of its time that work waits for a processor, or does not run at all, from which it counts as contended."""


class Stopwatch:
    """Times one stretch of work after another.

    Waiting is what the scheduler counts: threads ready to run without a processor. It does not count a process that
    was stopped (Ctrl-Z, a batch system that suspends jobs, a paused container), so on a CPU, where training and
    evaluation compute all the time, missing processor time counts too. That is summed over all threads: with several
    of them only a long stop shows.
    """

    def __init__(self) -> None:
        self._seconds = self._processor = 0.0
        self._waited: float | None = 0.0
        self._begun: tuple[float, float, dict[str, int] | None] = (0.0, 0.0, {})

    def start(self) -> None:
        """Begin a stretch of work."""
        self._begun = (time.perf_counter(), time.process_time(), _waiting())

    def stop(self) -> float:
        """End the stretch of work; return its seconds."""
        started, processor, before = self._begun
        seconds = time.perf_counter() - started
        self._seconds += seconds
        self._processor += time.process_time() - processor
        after = _waiting()
        if self._waited is not None:
            self._waited = None if before is None or after is None else self._waited + _more(before, after)
        return seconds

    def contended(self, on_cpu: bool) -> bool | None:
        """Return whether the work so far was contended.

        Args:
            on_cpu: it computes on the processor all the time, rather than waiting for a GPU.

        Returns:
            None where waiting cannot be measured (other systems than Linux) and no processor time is missing.
        """
        allowed = CONTENDED_SHARE * self._seconds
        if on_cpu and self._seconds - self._processor > allowed:
            return True
        return None if self._waited is None else self._waited > allowed


def _waiting() -> dict[str, int] | None:
    """Return how long each thread of this process has been ready to run without a processor, nanoseconds by thread.

    Second field of ``/proc/self/task/*/schedstat`` (Linux, Documentation/scheduler/sched-stats); None elsewhere.
    """
    found = {}
    try:
        for folder in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found[folder.name] = int((folder / "schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return found or None


def _more(before: dict[str, int], after: dict[str, int]) -> float:
    """Return the seconds that the threads that are left have waited; what those that ended had waited is not known."""
    return sum(max(0, waited - before.get(thread, 0)) for thread, waited in after.items()) / 1e9
