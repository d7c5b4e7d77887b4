from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.contention import Stopwatch

ROOT = Path(__file__).parents[1]

RUN = """
import sys
from pathlib import Path
from benchmark import runs
from tests import synthetic

print("ready", flush=True)
folder = Path(sys.argv[1])
record = runs.measure(synthetic.spec(), runs.RunContext(folder, folder / "weights"), synthetic.dataset).record
print(record.timing.contended, flush=True)
"""


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_run_that_was_stopped_says_contended(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    while run.poll() is None:
        run.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        run.send_signal(signal.SIGCONT)
        time.sleep(0.25)
    assert run.stdout.read() == "True\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts waiting")
def test_work_that_shares_its_processor_is_contended_wherever_it_computes() -> None:
    own = os.sched_getaffinity(0)
    one = next(iter(own))
    busy = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print('busy', flush=True)\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", busy, str(one)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        os.sched_setaffinity(0, {one})
        stopwatch = Stopwatch()
        stopwatch.start()
        compute(0.5)
        seconds = stopwatch.stop()
    finally:
        os.sched_setaffinity(0, own)
        other.kill()
        other.wait()
    assert seconds > 0.5
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
