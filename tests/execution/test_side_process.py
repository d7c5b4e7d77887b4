"""A call in another process: its return value, errors and progress, also when the process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.execution.forkserver import ATTEMPTS
from benchmark.execution.side_process import Progress, call_in_side_process


def libraries_there() -> tuple[int, bool]:
    return os.getpid(), "torch" in sys.modules


def counting(most: int, *, progress: Progress) -> str:
    for number in range(most):
        progress("numbers", number, most)
    return "counted"


def refusing() -> None:
    raise UserError("beans: not there.")


class UnpicklableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def failing() -> None:
    raise UnpicklableError("two", "words")


def killed(tries: Path) -> None:
    with tries.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(tries: Path) -> int:
    if not tries.exists():
        killed(tries)
    return 7


@pytest.mark.slow
def test_a_call_finds_the_libraries_and_its_value_is_returned() -> None:
    process, there = call_in_side_process(libraries_there)
    assert process != os.getpid()
    assert there


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False], ids=["forked", "spawned"])
def test_ctrl_c_is_kept_from_a_call_call_in_side_process(shared: bool) -> None:
    code = f"""
import signal
from benchmark.execution import forkserver
from benchmark.execution.side_process import call_in_side_process
if __name__ == "__main__":
    forkserver.are_shared = lambda: {shared}
    print(signal.SIGINT in call_in_side_process(signal.pthread_sigmask, signal.SIG_BLOCK, ()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.slow
def test_the_progress_of_a_call_is_reported_in_its_order_before_it_returns() -> None:
    reported: list[tuple[str, int, int]] = []
    assert call_in_side_process(counting, 5, progress=lambda *given: reported.append(given)) == "counted"
    assert reported == [("numbers", number, 5) for number in range(5)]


@pytest.mark.slow
def test_an_error_of_a_call_is_raised_with_its_traceback() -> None:
    with pytest.raises(UserError, match=r"^beans: not there\.$") as caught:
        call_in_side_process(refusing)
    assert "in refusing" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="UnpicklableError: two words"):
        call_in_side_process(failing)


@pytest.mark.slow
def test_a_call_whose_process_is_killed_is_made_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    assert call_in_side_process(killed_once, tmp_path / "once") == 7
    with pytest.raises(UserError, match=r"was ended 3 times \(exit code -9; -9 means killed"):
        call_in_side_process(killed, tmp_path / "tries")
    assert (tmp_path / "tries").read_text() == "x" * ATTEMPTS
