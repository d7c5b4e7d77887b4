"""Small copies of a run's test images for the report.

Runs with the same test images share one file, ``<folder>/exhibits/thumbnails-<what>.<content>.parquet``. ``what`` is a
hash that identifies the images, by which a worker finds an existing file; ``content`` is a hash of the bytes, by which
a reader checks that the file is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.catalogue import CATALOGUE

if TYPE_CHECKING:  # `plan` and `status` import this module with the store
    import numpy as np

    from benchmark.data.dataset import PreparedDataset
    from benchmark.data.source import DatasetSource
    from benchmark.matrix.run_spec import RunSpec
    from benchmark.matrix.settings import KeepThumbnails

FOLDER = "exhibits"
"""Folder inside a results folder."""

SIDE = 48
"""Pixels per side of a thumbnail; smaller images are not enlarged."""

MOST_THUMBNAILS = 1000
"""Maximum number of thumbnails per dataset, which keeps results small in git: each has about one kilobyte."""

QUALITY = 85
"""JPEG quality; colour is not subsampled."""


@dataclass(frozen=True)
class Exhibit:
    """One file of pictures for the report.

    Attributes:
        name: file name; its last part but one is a hash of the content.
        content: bytes of the file, or None if the store already has them.
    """

    name: str
    content: bytes | None


def keeps_thumbnails(source: DatasetSource, rule: KeepThumbnails) -> bool:
    """Return whether a run keeps thumbnails of a dataset; a folder's licence is unknown."""
    if rule == "licensed":
        return not source.is_folder and CATALOGUE[source.name].thumbnails.allowed
    return rule == "all"


def thumbnails(spec: RunSpec, data: PreparedDataset, grey: bool, folder: Path) -> Exhibit:
    """Return thumbnails of the test images as the network sees them in evaluation, before normalisation.

    Of more than `MOST_THUMBNAILS` images, those with the lowest hash of their id are used, which are the same
    in every input mode.

    Args:
        spec: run, for its crop.
        data: the run's dataset.
        grey: whether the images are grey.
        folder: folder of the existing exhibits; a complete one is reused.
    """
    order = sorted(range(len(data.test)), key=lambda k: hashlib.sha256(data.test.image_ids[k].encode()).digest())
    chosen = sorted(order[:MOST_THUMBNAILS])
    ids = [data.test.image_ids[k] for k in chosen]
    about = [data.fingerprint, ids, grey, data.images.shape[1:], spec.crop_size, SIDE, QUALITY]
    stem = f"thumbnails-{_digest(json.dumps(about).encode(), 12)}"
    for path in sorted(folder.glob(f"{stem}.*.parquet")):
        if is_complete(path.name, path.read_bytes()):
            return Exhibit(path.name, None)
    rows = data.test.rows[chosen].tolist()
    files = [_encode(_crop(data.images[row], spec.crop_size)) for row in rows]
    return pack(stem, ids, files)


def pack(stem: str, ids: Sequence[str], files: Sequence[bytes]) -> Exhibit:
    """Return an exhibit of JPEG files, named by ``stem`` and the hash of its content."""
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame({"image_id": list(ids), "jpeg": list(files)}).to_parquet(buffer, index=False, compression="zstd")
    content = buffer.getvalue()
    return Exhibit(f"{stem}.{_digest(content, 16)}.parquet", content)


def unpack(content: bytes) -> dict[str, bytes]:
    """Return image id -> JPEG file."""
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    columns = ParquetFile(BufferReader(content)).read(use_threads=False)
    return dict(zip(columns["image_id"].to_pylist(), columns["jpeg"].to_pylist(), strict=True))


def is_complete(name: str, content: bytes) -> bool:
    """Return whether a file's content matches the hash in its name."""
    return name.rsplit(".", 2)[-2] == _digest(content, 16)


def _digest(content: bytes, digits: int) -> str:
    return hashlib.sha256(content).hexdigest()[:digits]


def _crop(image: np.ndarray, crop: int | None) -> np.ndarray:
    """Return the centre crop that `training.batches.SplitImages` takes in evaluation: uint8, (side, side, channels)."""
    side = crop or len(image)
    first = (len(image) - side) // 2
    return image[first : first + side, first : first + side]


def _encode(image: np.ndarray) -> bytes:
    from PIL import Image

    small = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if small.width > SIDE:
        small = small.resize((SIDE, SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
