"""The folders of datasets and of caches."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APPLICATION = "greyscale-transfer-benchmark"


def data_directory(given: Path | None) -> Path:
    """Return the folder of the datasets: ``given``, else BENCHMARK_DATA_DIR, else the platform's data folder."""
    if given is not None:
        return given.expanduser()
    named = os.environ.get("BENCHMARK_DATA_DIR")
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir(APPLICATION, appauthor=False))


def cache_directory() -> Path:
    """Return the folder of everything that can be made again: BENCHMARK_CACHE_DIR, else the platform's cache folder."""
    named = os.environ.get("BENCHMARK_CACHE_DIR")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False))
