"""A stopwatch that notices when the work it timed shared its processor or was stopped."""

from __future__ import annotations

import math
import time
from pathlib import Path

CONTENDED_SHARE = 0.05
"""Share of its wall time that work waits for a processor, or does not run, from which it counts as contended."""


class Stopwatch:
    """A timer of one stretch of work after another, all in one thread.

    Two clocks in addition to the wall's: the time in which this thread was ready to run and had no processor, and the
    processor time of the process. Only the second notices a process that was stopped (Ctrl-Z, a suspended job, a paused
    container). It is the sum over all threads, so that with several of them only a long stop shows; on a GPU it says
    nothing.
    """

    def __init__(self) -> None:
        self._total = (0.0, 0.0, 0.0)
        self._begun = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin a stretch of work."""
        self._begun = _clocks()

    def stop(self) -> float:
        """End the stretch of work and return its seconds."""
        wall, processor, waited = (now - begun for now, begun in zip(_clocks(), self._begun, strict=True))
        self._total = (self._total[0] + wall, self._total[1] + processor, self._total[2] + waited)
        return wall

    def contended(self, on_cpu: bool) -> bool | None:
        """Return whether the work so far was contended, or None if waiting cannot be measured (not on Linux).

        Args:
            on_cpu: whether the work computes on the processor all the time, rather than waiting for a GPU.
        """
        wall, processor, waited = self._total
        allowed = CONTENDED_SHARE * wall
        if on_cpu and wall - processor > allowed:
            return True
        return None if math.isnan(waited) else waited > allowed


def _clocks() -> tuple[float, float, float]:
    """Return seconds of wall time, of processor time of the process, and of this thread's waiting for a processor.

    The last is the second field of ``/proc/thread-self/schedstat``, nanoseconds (Linux,
    Documentation/scheduler/sched-stats); NaN elsewhere.
    """
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = math.nan
    return time.perf_counter(), time.process_time(), waited
