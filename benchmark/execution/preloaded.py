"""Imports of everything that a run needs; `forkserver` makes them once for all processes.

The import takes seconds, in which the process ends with its parent where the system offers that (Linux).
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
"""The last three are imported when a dataset's index is read."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

for name in MODULES:
    importlib.import_module(name)
for cached_function in (environment.package_versions, environment.cpu_name, environment.git_revision):
    cached_function()

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, 0)

gc.freeze()  # no collection touches the pages that forks share
