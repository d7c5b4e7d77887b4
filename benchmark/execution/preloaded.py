"""All that a run needs, imported; `benchmark.execution.forkserver` has it imported once.

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
"""The last three: what reading a dataset's index imports when it is called."""

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, signal.SIGKILL)

for name in MODULES:
    importlib.import_module(name)
for known_from_now_on in (environment.package_versions, environment.cpu_name, environment.git_revision):
    known_from_now_on()

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(SIGNAL_WHEN_PARENT_ENDS, 0)

gc.freeze()  # what is imported is the same in every process that is forked from here: no collection touches its pages
