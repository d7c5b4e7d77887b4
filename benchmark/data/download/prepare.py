"""Preparation of a dataset of the catalogue: download, verify, unpack, move into the data directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from benchmark.data.catalogue import DatasetInfo, Download
from benchmark.data.decoding.pool import Progress
from benchmark.data.download.unpack import UnsafeArchive, unpack
from benchmark.data.download.web import NotFetched, fetch
from benchmark.data.layouts import list_dataset
from benchmark.data.listing import Listing
from benchmark.errors import UserError
from benchmark.files import sync
from benchmark.locations import data_directory


def prepare(info: DatasetInfo, data_dir: Path | None, progress: Progress | None = None) -> Listing:
    """Return a dataset's files, after downloading them if they are missing.

    Archives are kept in ``<data>/downloads/<name>/`` until the dataset is complete; a file that the user puts there is
    used like one that was downloaded. They are unpacked next to the dataset's folder, which appears with one rename, or
    a single file does. A lock makes processes that prepare the same dataset wait for the first.

    Args:
        info: the catalogue's entry.
        data_dir: see `data_directory`.
        progress: called with (what is being done, done, in all).

    Raises:
        UserError: no source delivered a file, an archive is not safe, the dataset's folder is taken by something else,
            or the data directory cannot be written. Nothing is left in the dataset's place.
    """
    try:
        return list_dataset(info, data_dir)
    except UserError:
        if not info.downloads:
            raise
    data = data_directory(data_dir)
    target = data / info.place
    try:
        data.mkdir(parents=True, exist_ok=True)
        with FileLock(data / f".{info.name}.lock"):
            try:
                return list_dataset(info, data_dir)
            except UserError as error:
                if target.is_file() or (target.is_dir() and any(target.iterdir())):
                    raise UserError(f"{error} {target} exists and is kept as it is: move it away first.") from None
            _fetch_and_unpack(info, data, target, progress)
            return list_dataset(info, data_dir)
    except OSError as error:
        raise UserError(
            f"dataset {info.name}: {data} cannot be written ({error.strerror or error}). "
            "Name another data directory with --data-dir or BENCHMARK_DATA_DIR."
        ) from None


def _fetch_and_unpack(info: DatasetInfo, data: Path, target: Path, progress: Progress | None) -> None:
    downloads = data / "downloads" / info.name
    downloads.mkdir(parents=True, exist_ok=True)
    outer = data / f".unpacking-{info.name}"  # a data directory of its own, so that the layout is checked in it
    made = outer / info.place
    staging = made.parent if info.layout.file else made
    shutil.rmtree(outer, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        for download in info.downloads:
            path = downloads / download.file
            _fetch(info, download, path, progress)
            if progress is not None:
                progress(f"unpacking {download.file}", 0, 1)
            if not download.file.endswith((".zip", ".tgz", ".tar.gz")):
                shutil.copyfile(path, staging / download.file)
                continue
            try:
                unpack(path, staging)
            except UnsafeArchive as error:
                path.unlink()
                raise UserError(f"dataset {info.name}: {error}. It was removed; nothing was unpacked.") from None
        list_dataset(info, outer)
        if hasattr(os, "sync"):
            os.sync()
        if target.exists():
            target.rmdir()  # empty, as was checked
        target.parent.mkdir(exist_ok=True)
        made.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(outer, ignore_errors=True)
    shutil.rmtree(downloads)
    if not any(downloads.parent.iterdir()):
        downloads.parent.rmdir()


def _fetch(info: DatasetInfo, download: Download, path: Path, progress: Progress | None) -> None:
    try:
        fetch(download, path, progress)
    except NotFetched as error:
        raise UserError(
            f"dataset {info.name}: {download.file} cannot be downloaded:\n{error}\n"
            f"Get it another way, put it at {path}, and run this again."
            + (f" Its hash must be {download.hash}." if download.hash else "")
        ) from None
