"""Imports of all libraries of a run, which `forkserver` does once for all processes.

They take seconds. If its parent ends meanwhile, the process ends too (on Linux, which supports this).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import signal
import sys

from benchmark import environment

SIGNAL_WHEN_PARENT_ENDS = 1
"""``PR_SET_PDEATHSIG`` of prctl(2)."""

MODULES = (
    "benchmark.training.run",
    "benchmark.execution.preflight",
    "benchmark.data.load",
    "benchmark.data.controls",
    "benchmark.execution.worker",
    *("pandas", "pyarrow.parquet", "pyarrow.dataset"),
)
"""Libraries to import. The last three are needed to read a dataset's index."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

for name in MODULES:
    importlib.import_module(name)
for cached_function in (environment.package_versions, environment.cpu_name, environment.git_revision):
    cached_function()

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, 0)

gc.freeze()  # so that garbage collection does not touch the pages that forks share
