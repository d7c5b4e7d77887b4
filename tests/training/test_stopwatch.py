from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.training import progress as contention
from benchmark.training.progress import Stopwatch

ROOT = Path(__file__).parents[2]

RUN = """
import sys
from pathlib import Path
from benchmark.training.context import RunContext
from benchmark.training.run import train_and_score
from tests import factories

print("ready", flush=True)
folder = Path(sys.argv[1])
context = RunContext(folder, folder / "weights")
record = train_and_score(factories.training_spec(), context, factories.dataset).record
print(record.timing.contended, flush=True)
"""


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.slow
def test_a_run_that_was_stopped_says_contended(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    while run.poll() is None:
        run.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        run.send_signal(signal.SIGCONT)
        time.sleep(0.03)  # its training takes a tenth of a second: no stretch of it is left alone
    assert run.stdout.read() == "True\n"


@contextlib.contextmanager
def shared_processor() -> Iterator[None]:
    """Hold this process on one processor, on which another one computes without end."""
    own = os.sched_getaffinity(0)
    one = next(iter(own))
    busy = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print('busy', flush=True)\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", busy, str(one)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        os.sched_setaffinity(0, {one})
        yield
    finally:
        os.sched_setaffinity(0, own)
        other.kill()
        other.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts waiting")
def test_work_that_shares_its_processor_is_contended_wherever_it_computes() -> None:
    stopwatch = Stopwatch()
    with shared_processor():
        stopwatch.start()
        compute(0.5)
        assert stopwatch.stop() > 0.5
    assert stopwatch.contended(on_cpu=True) is True
    assert stopwatch.contended(on_cpu=False) is True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts waiting")
def test_waiting_for_a_gpu_is_not_contended_and_not_computing_on_a_cpu_is() -> None:
    stopwatch = Stopwatch()
    stopwatch.start()
    time.sleep(1)
    assert stopwatch.stop() == pytest.approx(1, abs=0.5)
    assert stopwatch.contended(on_cpu=False) is False
    assert stopwatch.contended(on_cpu=True) is True


def test_where_waiting_is_not_counted_only_missing_processor_time_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter([(0.0, 0.0, math.nan), (10.0, 9.6, math.nan), (10.0, 9.6, math.nan), (20.0, 18.8, math.nan)])
    monkeypatch.setattr(contention, "_clocks", lambda: next(clocks))
    stopwatch = Stopwatch()
    stopwatch.start()
    stopwatch.stop()
    assert (stopwatch.contended(on_cpu=True), stopwatch.contended(on_cpu=False)) == (None, None)
    stopwatch.start()
    stopwatch.stop()
    assert (stopwatch.contended(on_cpu=True), stopwatch.contended(on_cpu=False)) == (True, None)
