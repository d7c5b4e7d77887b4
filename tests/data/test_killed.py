"""`kill -9` at any moment of preparing and caching: the next start repairs or restarts, and ends with the same data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.decoding import cache as decoded
from tests.data.conftest import Server, sha256, zipped

SCRIPT = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
from benchmark.data.catalogue import CATALOGUE, Download
from benchmark.data.load import load_dataset
from benchmark.data.download.prepare import prepare
from benchmark.data.source import DatasetSource
address, data = sys.argv[1], Path(sys.argv[2])
downloads = tuple(Download((f"{address}/{pair.split('=')[0]}",), pair.split("=")[1]) for pair in sys.argv[3:])
prepare(replace(CATALOGUE["rps"], downloads=downloads), data)
rps = load_dataset(DatasetSource(name="rps"), split_seed=0, image_size=32, grey=True, data_dir=data)
print(rps.fingerprint, hashlib.sha256(rps.images.tobytes()).hexdigest(), len(rps.train), len(rps.test))
"""


@pytest.fixture
def command(server: Server, tmp_path: Path) -> list[str]:
    """Return the command that fetches, indexes and decodes a small RPS from a server on this machine."""
    pairs = []
    for name in ("rps", "rps-test-set"):
        names = [f"{name}/{c}/{k:04d}.png" for c in ("paper", "rock", "scissors") for k in range(60)]
        server.bodies[f"{name}.zip"] = zipped(names)
        pairs.append(f"{name}.zip={sha256(server.bodies[f'{name}.zip'])}")
    return [sys.executable, "-c", SCRIPT, server.address, str(tmp_path / "data"), *pairs]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "BENCHMARK_CACHE_DIR": str(cache)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_leave_nothing_wrong(command: list[str], tmp_path: Path) -> None:
    started = time.monotonic()
    reference = subprocess.run(command, env=environment(tmp_path / "c"), capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    data = Path(command[4])
    data.rename(tmp_path / "data of the reference")
    cache = tmp_path / "killed"
    rng = np.random.default_rng(0)
    for _ in range(20):
        process = subprocess.Popen(
            command, env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(rng.uniform(0.2, 1.0) * seconds)
        process.kill()
        output, errors = process.communicate()
        assert errors == "", errors
        assert output in ("", reference.stdout), "a result after a kill differs"
        for file in (cache / "images").glob("*.npy"):
            assert decoded.is_undamaged(file), "files with their final name are complete"
    after = subprocess.run(command, env=environment(cache), capture_output=True, text=True, check=True)
    assert after.stdout == reference.stdout
    left = [p for root in (cache, data) for p in root.rglob("*") if p.suffix in (".tmp", ".part", ".zip")]
    assert left == []


@pytest.mark.slow
def test_two_processes_started_together_cost_one_download_and_end_with_one_correct_copy(
    command: list[str], server: Server, tmp_path: Path
) -> None:
    cache = tmp_path / "shared"
    server.seconds = 2  # for each answer, so that the second process comes while the first is at it
    both = [subprocess.Popen(command, env=environment(cache), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate(timeout=200)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(answers) == 1
    assert len(server.requests) == 2
    (file,) = (cache / "images").glob("*.npy")
    assert decoded.is_undamaged(file)
