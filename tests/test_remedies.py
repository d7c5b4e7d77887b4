from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.remedies import REMEDIES

CORRUPTING = (
    "seed-of-training",
    "lr-of-a-stage",
    "freeze-batch-norms",
    "eval-mode",
    "best-weights-copied",
    "micro-average",
    "summed-stem",
    "one-mean",
)
"""What silently corrupts results; all of the others, too, in the stress test."""


def noticed(*names: str) -> int:
    command = [sys.executable, "-m", "tests.remedies", *names]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sum(line.endswith(" noticed") for line in done.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_test_of_each_corrupting_trap_fails_when_its_remedy_is_taken_away() -> None:
    assert noticed(*CORRUPTING) == len(CORRUPTING)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_the_test_of_each_remedy_fails_when_it_is_taken_away() -> None:
    assert noticed() == len(REMEDIES)
