from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.remedies import REMEDIES


@pytest.mark.slow
def test_the_test_of_each_trap_fails_when_its_remedy_is_taken_away() -> None:
    command = [sys.executable, "-m", "tests.repository.remedies"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(line.endswith(" noticed") for line in done.stdout.splitlines()) == len(REMEDIES)
