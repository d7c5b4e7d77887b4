"""Commands as a user starts them, in a folder of their own, for tests that start, kill and share them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmark.execution.floor import NICENESS

TRAINING: dict[str, Any] = {
    "image_size": 32,
    "batch_size": 32,
    "epochs": 2,
    "head_epochs": 1,
    "early_stopping": None,
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "models": ["timm/test_resnet"],
    "weights": "none",
    "datasets": [{"name": "shape-control", "limit": 32}],
    "input_modes": ["grey-1ch", "grey-3ch"],
    "policies": ["scratch"],
    "seeds": [0, 1],
    "training": TRAINING,
}


class Commands:
    """A folder with a matrix file, and the commands run in it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "BENCHMARK_CACHE_DIR": str(cache), "COLUMNS": "200"}

    def matrix(self, **changes: Any) -> str:
        """Write the tiny matrix with other values and return its path."""
        path = self.folder / "tiny.yaml"
        path.write_text(yaml.safe_dump({**TINY, **changes}, sort_keys=False))
        return str(path)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``python -m benchmark``."""
        return subprocess.Popen(
            [sys.executable, "-m", "benchmark", *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def results(self, name: str = "tiny") -> Path:
        """Return the results folder."""
        return self.folder / "results" / name

    def records(self, name: str = "tiny") -> dict[str, dict[str, Any]]:
        """Return the records by id."""
        paths = (self.results(name) / "records").glob("*.json")
        return {path.stem: json.loads(path.read_text()) for path in sorted(paths)}


def workers(parent: int) -> list[psutil.Process]:
    """Return the processes in which a command works: those forked from the one that imports the libraries.

    The process of the floor rows, which is nicer, is left out.
    """
    found = []
    for server in library_servers(parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child for child in server.children() if child.nice() < server.nice() + NICENESS]
    return found


def library_servers(parent: int) -> list[psutil.Process]:
    """Return the process of a command that imports the libraries, as a list of one; before it starts, of none."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "multiprocessing.forkserver" in " ".join(child.cmdline()):
                    found.append(child)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
