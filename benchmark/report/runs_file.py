"""runs.parquet: one row a run of the matrix, done or not, every field of its record."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
from pyarrow import BufferReader
from pyarrow.parquet import ParquetFile

from benchmark.plan import Plan, PlannedRun


def runs_frame(plan: Plan) -> pd.DataFrame:
    """Return one row a run, in the matrix's order.

    Columns: ``state`` (as in the ledger), ``id``, then the record's fields with dots for nesting, e.g.
    ``timing.train_seconds``, in alphabetical order. Lists (the history, the stages, the classes) are JSON texts. A run
    without a record has its spec only.
    """
    rows = pd.DataFrame([_row(run) for run in plan.runs])
    rest = sorted(set(rows.columns) - {"state", "id"})
    return rows[["state", "id", *rest]]


def encode(frame: pd.DataFrame) -> bytes:
    """Return the Parquet file; its bytes depend on the version of pyarrow, its content does not."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def agrees(content: bytes, frame: pd.DataFrame) -> bool:
    """Return whether a Parquet file, of any version of pyarrow, holds exactly this table."""
    try:
        found, expected = (ParquetFile(BufferReader(each)).read(use_threads=False) for each in (content, encode(frame)))
    except (OSError, ValueError):  # pyarrow's ArrowInvalid is a ValueError
        return False
    return bool(found.equals(expected))


def _row(run: PlannedRun) -> dict[str, Any]:
    row: dict[str, Any] = {"state": run.state, "id": run.spec.id}
    row |= _flat("spec.", run.spec.portable.model_dump(mode="json"))
    if run.record is not None:
        row |= _flat("", run.record.model_dump(mode="json", exclude={"spec", "id"}))
    return row


def _flat(prefix: str, fields: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(f"{prefix}{name}.", value)
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = json.dumps(value, sort_keys=True)
        else:
            flat[f"{prefix}{name}"] = value
    return flat
