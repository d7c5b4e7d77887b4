"""The child processes that work on image files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from benchmark.datasets import parallel
from benchmark.datasets.parallel import map_files
from tests.datasets.conftest import picture, save


def test_every_item_is_answered_once(tmp_path: Path) -> None:
    items = [[str(k), str(save(picture(k), tmp_path / f"{k}.png"))] for k in range(120)]
    answers = dict(map_files({"kind": "scan"}, items, stage="reading", workers=2))
    assert sorted(answers) == sorted(name for name, _ in items)
    assert all(facts["problem"] is None for facts in answers.values())


def test_a_worker_that_dies_is_an_error_and_not_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = parallel._start

    def started_and_killed() -> subprocess.Popen[str]:
        process = start()
        process.send_signal(signal.SIGKILL)
        return process

    monkeypatch.setattr(parallel, "_start", started_and_killed)
    items = [[str(k), str(save(picture(k), tmp_path / f"{k}.png"))] for k in range(60)]
    with pytest.raises((RuntimeError, BrokenPipeError)):
        list(map_files({"kind": "scan"}, items, stage="reading", workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_inside_a_worker_is_told_and_ends_the_work(workers: int, tmp_path: Path) -> None:
    task = {"kind": "decode", "file": str(tmp_path / "missing"), "size": 8, "grey": True}
    with pytest.raises((RuntimeError, FileNotFoundError), match="No such file"):
        list(map_files(task, [[row, "a.png", ""] for row in range(100)], stage="decoding", workers=workers))


def test_work_that_its_caller_gives_up_ends_at_once(tmp_path: Path) -> None:
    path = str(save(picture(1), tmp_path / "a.png"))
    before = threading.active_count()
    answers = map_files({"kind": "scan"}, [[k, path] for k in range(20_000)], stage="reading", workers=2)
    next(answers)
    started = time.monotonic()
    answers.close()
    assert time.monotonic() - started < 2
    assert threading.active_count() == before


def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    save(picture(1), tmp_path / "a.png")
    script = (
        "from benchmark.datasets.parallel import _start; import time; p = _start(); print(p.pid, flush=True); "
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _lives(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_imports_neither_torch_nor_pandas_nor_numpy() -> None:
    script = "import benchmark.datasets.worker, sys; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("written", ["", '{"kind": "sc', '{"kind": "scan"}\n[["a", "'])
def test_a_worker_whose_parent_dies_in_the_middle_of_a_line_ends_without_a_word(written: str) -> None:
    command = [sys.executable, "-m", "benchmark.datasets.worker"]
    done = subprocess.run(command, input=written, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_worker_whose_answer_nobody_reads_ends_without_a_word() -> None:
    command = [sys.executable, "-m", "benchmark.datasets.worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdin.write('{"kind": "scan"}\n[["a", "/nowhere"]]\n')
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
