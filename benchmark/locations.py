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


def expanded(path: Path) -> Path:
    """Return a path with the home folder in place of a leading ``~`` or ``~USER``.

    Raises:
        UserError: that folder is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: that home folder is not known ({error}). Write the complete path.") from None


def data_directory(given: Path | None) -> Path:
    """Return the folder of the datasets: ``given``, else BENCHMARK_DATA_DIR, else the platform's data folder."""
    return expanded(given) if given is not None else _folder("BENCHMARK_DATA_DIR", platformdirs.user_data_dir)


def cache_directory() -> Path:
    """Return the folder of everything that can be made again: BENCHMARK_CACHE_DIR, else the platform's cache folder."""
    return _folder("BENCHMARK_CACHE_DIR", platformdirs.user_cache_dir)


def cache_file(folder: str, name: str, key: str) -> Path:
    """Return the file of the cache for a key, whether it exists or not.

    Args:
        folder: inside the cache folder.
        name: of the dataset, with which a new file's name begins, for people.
        key: a hash of everything that decides the content, and the suffix: a copy of a dataset finds what was made for
            the dataset, whatever it is called.
    """
    place = cache_directory() / folder
    return next(iter(sorted(place.glob(f"*-{glob.escape(key)}"))), place / f"{name}-{key}")


def _folder(variable: str, of_platform: Callable[..., str]) -> Path:
    if named := os.environ.get(variable):
        return expanded(Path(named))
    with suppress(RuntimeError):  # of newer versions of platformdirs; older ones leave the ~
        folder = Path(of_platform(APPLICATION, appauthor=False))
        if folder.is_absolute():
            return folder
    raise UserError(f"no home folder is known here (HOME is not set). Name a folder by {variable}.")
