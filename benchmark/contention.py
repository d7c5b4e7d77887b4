"""A stopwatch that also tells whether what it timed had its processors to itself: only then do seconds compare."""

from __future__ import annotations

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
        self._begun: tuple[float, float, float | None] = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin a stretch of work."""
        self._begun = (time.perf_counter(), time.process_time(), _seconds_waiting())

    def stop(self) -> float:
        """End the stretch of work; return its seconds."""
        started, processor, before = self._begun
        seconds = time.perf_counter() - started
        self._seconds += seconds
        self._processor += time.process_time() - processor
        after = _seconds_waiting()
        if self._waited is not None:
            self._waited = None if before is None or after is None else self._waited + after - before
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


def _seconds_waiting() -> float | None:
    """Return how long this process's threads have been ready to run without a processor, seconds.

    Second field of ``/proc/self/task/*/schedstat`` (Linux, Documentation/scheduler/sched-stats); None elsewhere.
    """
    try:
        return sum(int(file.read_text().split()[1]) for file in Path("/proc/self/task").glob("*/schedstat")) / 1e9
    except (OSError, IndexError, ValueError):
        return None
