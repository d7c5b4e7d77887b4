"""runs.parquet: one row per run of the matrix, done or not, with every field of its record."""

from __future__ import annotations

import io

import pandas as pd
from pyarrow import BufferReader
from pyarrow.parquet import ParquetFile


def encode(frame: pd.DataFrame) -> bytes:
    """Return the Parquet file; its bytes depend on the version of pyarrow, its content does not."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def agrees(content: bytes, frame: pd.DataFrame) -> bool:
    """Return whether a Parquet file, of any version of pyarrow, contains exactly this table."""
    try:
        found, expected = (ParquetFile(BufferReader(each)).read(use_threads=False) for each in (content, encode(frame)))
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return False
    return bool(found.equals(expected))
