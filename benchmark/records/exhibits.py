"""Small copies of a run's test images for the report.

Runs that show the same images share one file, ``<folder>/exhibits/thumbnails-<what>.<content>.parquet``: ``what``
hashes what is shown and ``content`` the bytes, so that a worker sees without opening a file whether it exists, and a
reader whether it is complete. No torch.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.catalogue import CATALOGUE

if TYPE_CHECKING:  # the store imports this module: `plan` and `status` load no NumPy, the report no torch
    import numpy as np

    from benchmark.data.dataset import PreparedDataset
    from benchmark.data.source import DatasetSource
    from benchmark.matrix.matrix import RunSpec
    from benchmark.matrix.settings import KeepThumbnails

FOLDER = "exhibits"
"""Inside a results folder."""

SIDE = 48
"""Pixels a side of a thumbnail; an image that is smaller stays as it is."""

MOST_THUMBNAILS = 1000
"""Test images of a dataset that have one, so that results stay small in git: 48 x 48 pixels are about a kilobyte."""

QUALITY = 85
"""Of the JPEG files, without subsampling of colour."""


@dataclass(frozen=True)
class Exhibit:
    """One file for the report.

    Attributes:
        name: of the file.
        content: or None if the store has a complete file of this name.
    """

    name: str
    content: bytes | None


def keeps_thumbnails(source: DatasetSource, rule: KeepThumbnails) -> bool:
    """Return whether a run keeps thumbnails of a dataset; of a folder, whose licence nobody knows, only under all."""
    if rule == "licensed":
        return not source.is_folder and CATALOGUE[source.name].thumbnails.allowed
    return rule == "all"


def thumbnails(spec: RunSpec, data: PreparedDataset, grey: bool, folder: Path) -> Exhibit:
    """Return thumbnails of the test images as the network is shown them in evaluation, before normalisation.

    Beyond `MOST_THUMBNAILS` images those of the lowest hash of their id are taken: the same in every input mode.

    Args:
        spec: gives the crop.
        data: opened for the run.
        grey: its images are luma.
        folder: of the exhibits that exist and need not be made again.
    """
    order = sorted(range(len(data.test)), key=lambda k: hashlib.sha256(data.test.image_ids[k].encode()).digest())
    chosen = sorted(order[:MOST_THUMBNAILS])
    ids = [data.test.image_ids[k] for k in chosen]
    about = [data.fingerprint, ids, grey, data.images.shape[1:], spec.crop_size, SIDE, QUALITY]
    stem = f"thumbnails-{_digest(json.dumps(about).encode(), 12)}"
    for path in sorted(folder.glob(f"{stem}.*.parquet")):
        if is_whole(path.name, path.read_bytes()):
            return Exhibit(path.name, None)
    rows = data.test.rows[chosen].tolist()
    files = [_jpeg(_central(data.images[row], spec.crop_size)) for row in rows]
    return exhibit(stem, encoded(ids, files))


def encoded(ids: Sequence[str], files: Sequence[bytes]) -> bytes:
    """Return a Parquet file with the columns image_id and jpeg."""
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame({"image_id": list(ids), "jpeg": list(files)}).to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def decoded(content: bytes) -> Mapping[str, bytes]:
    """Return image id -> JPEG file."""
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    columns = ParquetFile(BufferReader(content)).read(use_threads=False)
    return dict(zip(columns["image_id"].to_pylist(), columns["jpeg"].to_pylist(), strict=True))


def is_whole(name: str, content: bytes) -> bool:
    """Return whether a file holds what its name says."""
    return name.rsplit(".", 2)[-2] == _digest(content, 16)


def exhibit(stem: str, content: bytes) -> Exhibit:
    """Return an exhibit under its name: the stem says what it shows, the hash after it what it holds."""
    return Exhibit(f"{stem}.{_digest(content, 16)}.parquet", content)


def _digest(content: bytes, digits: int) -> str:
    return hashlib.sha256(content).hexdigest()[:digits]


def _central(image: np.ndarray, crop: int | None) -> np.ndarray:
    """Return the part that `training.batches.SplitImages` shows in evaluation; uint8 (side, side, channels)."""
    first = 0 if crop is None else (len(image) - crop) // 2
    side = len(image) if crop is None else crop
    return image[first : first + side, first : first + side]


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    small = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if small.width > SIDE:
        small = small.resize((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
