"""The threads that work on image files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark.data.decoding import pool
from benchmark.data.decoding.pool import map_ahead, map_files
from tests.factories import picture, save


def test_every_item_is_answered_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "processors", lambda: 4)

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    reported: list[tuple[str, int, int]] = []
    results = map_files(work, range(100), stage="reading", progress=lambda *now: reported.append(now))
    assert list(results) == list(range(100))
    assert reported == [("reading", done, 100) for done in (32, 64, 96, 100)]


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_work() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise OSError("the disk is gone")
        return number

    before = threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        list(map_files(work, range(10_000), stage="reading"))
    assert len(begun) < 1000
    assert threading.active_count() == before


def test_no_more_is_done_ahead_than_was_asked_for() -> None:
    begun: list[int] = []
    results = map_ahead(begun.append, range(100), threads=3, ahead=5, name="few")
    next(results)
    time.sleep(0.1)
    assert sorted(begun) == list(range(6))
    results.close()


def test_work_that_its_caller_gives_up_ends_at_once(tmp_path: Path) -> None:
    path = save(picture(1), tmp_path / "a.png")
    before, started = threading.active_count(), time.monotonic()
    answers = map_files(Path.read_bytes, [path] * 20_000, stage="reading")
    next(answers)
    answers.close()
    assert time.monotonic() - started < 2
    assert threading.active_count() == before


def test_ctrl_c_ends_the_work_with_its_threads() -> None:
    script = (
        "import time; from benchmark.data.decoding.pool import map_files\n"
        "work = lambda number: print(number, flush=True) or time.sleep(0.05)\n"
        "list(map_files(work, range(10_000), stage='reading'))"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        assert "KeyboardInterrupt" in process.stderr.read()
    assert process.returncode == -signal.SIGINT
