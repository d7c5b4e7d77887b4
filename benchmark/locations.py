"""The folders of datasets and of caches."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from benchmark.errors import UserError

APPLICATION = "greyscale-transfer-benchmark"


def expand_home(path: Path) -> Path:
    """Replace a leading ``~`` or ``~USER`` by the home folder.

    Raises:
        UserError: the home folder is unknown.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: the home folder is unknown ({error}). Write the complete path.") from None


def data_directory(given: Path | None) -> Path:
    """Return the folder of the datasets: ``given``, else BENCHMARK_DATA_DIR, else the platform's data folder."""
    return expand_home(given) if given is not None else _folder("BENCHMARK_DATA_DIR", platformdirs.user_data_dir)


def cache_directory() -> Path:
    """Return the folder of reproducible files: BENCHMARK_CACHE_DIR, else the platform's cache folder."""
    return _folder("BENCHMARK_CACHE_DIR", platformdirs.user_cache_dir)


def cache_file(folder: str, name: str, key: str) -> Path:
    """Return the path of the cache file for a key, whether it exists or not.

    Args:
        folder: folder inside the cache folder.
        name: name of the dataset, for the readable start of a new file name.
        key: hash of everything that decides the content, and the suffix. A copy of a dataset under another name finds
            the same file.
    """
    place = cache_directory() / folder
    return next(iter(sorted(place.glob(f"*-{glob.escape(key)}"))), place / f"{name}-{key}")


def _folder(variable: str, of_platform: Callable[..., str]) -> Path:
    if named := os.environ.get(variable):
        return expand_home(Path(named))
    with suppress(RuntimeError):  # raised by newer versions of platformdirs; older ones leave the ~
        folder = Path(of_platform(APPLICATION, appauthor=False))
        if folder.is_absolute():
            return folder
    raise UserError(f"the home folder is unknown (HOME is not set). Set {variable} to a folder.")
