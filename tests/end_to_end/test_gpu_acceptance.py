"""The program for a GPU is tried without one: it measures a tiny network, and NVIDIA's daemon is a stand-in script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from benchmark.environment import VISIBLE
from benchmark.execution.forecast import ReferenceRate, run_times
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from tests.commands import wait_for
from tests.performance import common, gpu_acceptance
from tests.performance.gpu_acceptance import TINY, NotMeasuredError, Part, Row

DAEMON = """#!/bin/sh
if [ "$1" = -f ]; then echo $$ > "$CUDA_MPS_PIPE_DIRECTORY/daemon"; exec sleep 300; fi
read -r command
case "$command" in
quit*) kill "$(cat "$CUDA_MPS_PIPE_DIRECTORY/daemon")" ;;
*) echo "$SERVERS" ;;
esac
"""
DEAF = DAEMON.replace("kill", "true")


def accept(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = common.module_command("gpu_acceptance", *options)
    given = {**os.environ, **variables}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_part_is_measured_at_a_tiny_size_on_a_cpu(tmp_path: Path) -> None:
    ended = accept("--device", "cpu", "--tiny", BENCHMARK_CACHE_DIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    line, table = ended.stdout.split("\n", 1)
    rows = [Row(**row) for row in json.loads(line)["rows"]]
    assert [(row.part, row.state) for row in rows] == [
        ("tests", "left out"),
        *[("images/s", "measured")] * 2,
        ("forecast", "measured"),
        *[("runs/hour", "measured")] * 2,
        *[("runs/hour", "left out")] * 2,
        ("table", "measured"),
        *[("table, test accuracy, %", "measured")] * 3,
    ]
    assert all(f"| {row.case} " in table and f"| {row.result} " in table for row in rows)
    assert all(row.figures["runs"] == 4 and row.figures["per_hour"] > 60 for row in rows[4:6])
    assert all(set(row.figures) == set(gpu_acceptance.POLICIES) for row in rows[9:])
    assert "generated images" in rows[8].case
    train, evaluate = (row.figures["harness"] for row in rows[1:3])
    assert 0 < train < evaluate
    rate = ReferenceRate("timm/test_resnet", "gpu", (32, 32), train, evaluate, "")
    runs = expand(file.load(file.find("full"), ["models=[timm/test_resnet]", "training.image_size=32"]))
    hours = sum(time.seconds for time in run_times(runs, [], "gpu", [rate]).values()) / 3600
    assert rows[3].figures["hours"] == pytest.approx(hours)


def test_without_a_gpu_it_says_so_and_ends_with_2() -> None:
    ended = accept(**{VISIBLE: ""})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("There is no GPU")
    assert ended.stderr.count("\n") == 1


def test_the_shares_of_the_parts_are_ten_minutes_at_most() -> None:
    seconds = gpu_acceptance.FULL.seconds
    each = seconds["tests"] + len(gpu_acceptance.FULL.rated) * seconds["rates"] + 2 * seconds["packed"]
    assert each + seconds["table"] <= 575, "the rest is for starting and ending"


def test_a_command_that_is_out_of_time_is_killed_with_what_it_started_and_named_as_not_measured() -> None:
    with pytest.raises(NotMeasuredError, match="not done within 1 s") as raised:
        Part(1, {}).run(["sh", "-c", "sleep 300 & echo $!; wait"])
    assert raised.value.row("runs/hour", "8 at a time").state == "not measured"
    wait_for(lambda: is_gone(int(raised.value.printed)))


def test_what_was_measured_before_the_time_was_over_stays_and_the_rest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = json.dumps({"at_a_time": 1, "runs": 4, "seconds": 8.0})
    monkeypatch.setattr(common, "module_command", lambda *_: ["sh", "-c", f"echo '{line}'; sleep 300"])
    first, second = gpu_acceptance.pack(Part(1, {}), TINY, "no MPS")
    assert (first.result, first.state) == ("1,800", "measured")
    assert (second.result, second.state) == ("not done within 1 s", "not measured")


def row_of_tests(body: str, folder: Path) -> Row:
    """Return the first row of a measurement on GPU 2 whose only test has this body."""
    (folder / "test_it.py").write_text(f"import os\nimport pytest\n\n@pytest.mark.gpu\ndef test_it():\n    {body}\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs one\n")
    return next(gpu_acceptance.measure(replace(TINY, tests=str(folder)), "2", None, folder))


def test_a_failed_test_of_a_gpu_fails_its_part(tmp_path: Path) -> None:
    row = row_of_tests("assert False", tmp_path)
    assert (row.state, row.result.partition(" in ")[0]) == ("failed", "1 failed")


def test_one_gpu_is_seen_and_no_daemon_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpu_acceptance.PIPES, str(tmp_path))
    row = row_of_tests(
        f"assert os.environ['{VISIBLE}'] == '2' and not os.path.exists(os.environ['{gpu_acceptance.PIPES}'])", tmp_path
    )
    assert (row.state, row.result.partition(" in ")[0]) == ("measured", "1 passed")


def test_the_forecast_is_of_the_81_runs_of_full_and_halves_with_twice_the_rates() -> None:
    hours = []
    for rates in ((500.0, 1500.0), (1000.0, 3000.0)):
        rows = [Row("images/s", "", "", figures={"harness": rate}) for rate in rates]
        forecast = gpu_acceptance.forecast_full(rows, gpu_acceptance.FULL)
        assert forecast.figures["runs"] == 81
        hours.append(forecast.figures["hours"])
    assert hours[0] == pytest.approx(2 * hours[1])


def test_a_forecast_is_not_made_without_its_rates() -> None:
    row = gpu_acceptance.forecast_full([Row("images/s", "training", "not done within 70 s", "not measured")], TINY)
    assert (row.result, row.state, row.figures) == ("its rates are not measured", "not measured", {})


def is_gone(process: int) -> bool:
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def put_on_path(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch, servers: str = "") -> Path:
    """Install a stand-in for NVIDIA's daemon; return the empty folder of its pipes."""
    program = folder / "bin" / gpu_acceptance.MPS
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SERVERS", servers)
    (folder / "mps").mkdir()
    return folder / "mps"


def daemon_of(folder: Path) -> int:
    written = folder / "pipe" / "daemon"
    wait_for(lambda: written.exists() and written.read_text().endswith("\n"))
    return int(written.read_text())


@pytest.mark.parametrize("script", [DAEMON, DEAF], ids=["quits", "does not quit"])
def test_no_daemon_is_left_after_an_error(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_on_path(script, tmp_path, monkeypatch)
    daemon = 0

    def fail_with_a_daemon() -> None:
        nonlocal daemon
        with gpu_acceptance.mps(folder, "3") as clients:
            daemon = daemon_of(folder)
            assert not is_gone(daemon)
            assert clients[VISIBLE] == "0"
            assert psutil.Process(daemon).environ()[VISIBLE] == "3"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_with_a_daemon()
    wait_for(lambda: is_gone(daemon), 5)


def test_no_daemon_is_left_when_the_program_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put_on_path(DAEMON, tmp_path, monkeypatch)
    text = "import sys, time; from pathlib import Path; from tests.performance.gpu_acceptance import mps\n"
    text += "with mps(Path(sys.argv[1]), '0'): time.sleep(300)"
    program = subprocess.Popen([sys.executable, "-c", text, str(folder)])
    daemon = daemon_of(folder)
    program.send_signal(signal.SIGKILL)
    program.wait()
    wait_for(lambda: is_gone(daemon))


@pytest.mark.parametrize(("servers", "state"), [("4242", "measured"), ("Cannot find MPS control daemon", "failed")])
def test_runs_that_passed_the_daemon_by_are_no_measurement(
    servers: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(DAEMON, tmp_path, monkeypatch, servers)
    lines = "\n".join(json.dumps({"at_a_time": number, "runs": 4, "seconds": 8.0}) for number in TINY.packed)
    monkeypatch.setattr(common, "module_command", lambda *_: ["echo", lines])
    began = time.monotonic()
    rows = gpu_acceptance.pack_with_mps(Part(100, {}), TINY, "0")
    assert [row.state for row in rows] == [state] * len(TINY.packed)
    assert time.monotonic() - began < 5
