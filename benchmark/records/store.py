"""The store of records, which writes and reads each record completely or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from benchmark.errors import UserError, did_you_mean
from benchmark.files import write_atomically
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records.exhibits import FOLDER as EXHIBITS
from benchmark.records.exhibits import Exhibit, is_complete
from benchmark.records.record import (
    SCHEMA_VERSION,
    DoneRun,
    Predictions,
    PredictionTable,
    RunRecord,
    UnfinishedRun,
    record_adapter,
)


@dataclass(frozen=True)
class DamagedRecord:
    """A record file that is not a valid record."""

    path: Path
    reason: str


@dataclass(frozen=True)
class StaleRecord:
    """A record of another protocol version. Its schema may differ, so only its id is read."""

    id: str


CONFLICTS = "conflicts"
"""Folder inside a results folder for the results that `benchmark.records.merge` kept apart."""

VERSIONS = {"schema_version", "protocol_version"}
"""Fields that must be in the file even though they have a default."""


class Store:
    """Results folder of a matrix: ``records/<id>.json`` and ``<id>.parquet``, ``exhibits/``, ``checkpoints/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.matrix = folder / "matrix.yaml"
        self.records = folder / "records"
        self.exhibits = folder / EXHIBITS
        self.checkpoints = folder / "checkpoints"

    def path(self, run_id: str) -> Path:
        """Return the path of a record."""
        return self.records / f"{run_id}.json"

    def save(
        self, record: RunRecord, predictions: PredictionTable | None = None, exhibits: Sequence[Exhibit] = ()
    ) -> RunRecord:
        """Write a record, after its predictions and exhibits, so that a record on disk is always complete.

        Returns:
            The record as written, without paths of this machine, with the file and hash of its predictions.
        """
        record = record.model_copy(update={"spec": record.spec.portable})
        if predictions is not None:
            content = predictions.to_parquet()
            name = f"{record.id}.parquet"
            write_atomically(self.records / name, content)
            digest = hashlib.sha256(content).hexdigest()
            rows = len(predictions.image_id)
            record = record.model_copy(update={"predictions": Predictions(file=name, sha256=digest, rows=rows)})
        for exhibit in exhibits:
            if exhibit.content is not None:
                write_atomically(self.exhibits / exhibit.name, exhibit.content)
        write_atomically(self.path(record.id), (record.model_dump_json(indent=1) + "\n").encode())
        for folder in (self.records, self.exhibits):  # unfinished files of a killed process
            for file in folder.glob(f".{record.id}.*.tmp"):
                file.unlink(missing_ok=True)
        return record

    def remove_checkpoints(self, run_id: str) -> None:
        """Delete the checkpoints of a run, including unfinished files, and the folder if it is empty."""
        for file in (*self.checkpoints.glob(f"{run_id}.*"), *self.checkpoints.glob(f".{run_id}.*.tmp")):
            file.unlink(missing_ok=True)
        if self.checkpoints.is_dir() and not any(self.checkpoints.iterdir()):
            self.checkpoints.rmdir()

    def checkpointed_runs(self) -> set[str]:
        """Return the ids of runs with files in `checkpoints`, including unfinished files."""
        return {file.name.removeprefix(".").partition(".")[0] for file in self.checkpoints.glob("*")}

    def conflicts(self) -> tuple[str, ...]:
        """Return the ids of runs of which a merge found different results; those not in `records` were kept apart."""
        return tuple(sorted({path.stem for path in self.folder.glob(f"{CONFLICTS}/*/records/*.json")}))

    def damaged_predictions(self, record: DoneRun) -> DamagedRecord | None:
        """Return what is wrong with a record's predictions, or None if they are intact."""
        try:
            if record.predictions is not None:
                self._prediction_bytes(record, record.predictions)
        except UserError as error:
            return DamagedRecord(path=self.records / f"{record.id}.parquet", reason=str(error))
        return None

    def _prediction_bytes(self, record: RunRecord, named: Predictions) -> bytes:
        path = self.records / named.file
        try:
            content = path.read_bytes()
        except OSError as error:
            why = error.strerror
            raise UserError(f"{path}: predictions cannot be read ({why}). Run it again with --force.") from None
        if hashlib.sha256(content).hexdigest() != named.sha256:
            raise UserError(f"{path}: does not match the hash in {record.id}.json. Run it again with --force.")
        return content

    def load(self, path: Path) -> RunRecord | StaleRecord | DamagedRecord:
        """Read a record file: a `StaleRecord` if of another protocol version, a `DamagedRecord` if invalid."""
        try:
            content = path.read_bytes()
        except OSError as error:
            return DamagedRecord(path=path, reason=f"cannot be read: {error.strerror}")
        try:
            record = record_adapter().validate_json(content)
        except ValidationError as error:
            if is_of_another_protocol(content):
                return StaleRecord(path.stem)
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][1:]) or "file"  # the first part is the status
            return DamagedRecord(path=path, reason=f"{where}: {first['msg']}")
        if record.id != path.stem:
            return DamagedRecord(path=path, reason=f"contains the record of another run, {record.id}")
        if record.protocol_version != PROTOCOL_VERSION:
            return StaleRecord(record.id)
        if record.spec.id != record.id:
            return DamagedRecord(path=path, reason=f"its spec belongs to another run, {record.spec.id}")
        if record.schema_version != SCHEMA_VERSION or not record.model_fields_set >= VERSIONS:
            return DamagedRecord(path=path, reason=f"not of schema version {SCHEMA_VERSION}")
        if not isinstance(record, UnfinishedRun) and isinstance(record, DoneRun) != (record.spec.trial is None):
            return DamagedRecord(path=path, reason=f"its spec does not fit the status {record.status}")
        if isinstance(record, DoneRun):
            if record.predictions is None:
                return DamagedRecord(path=path, reason="predictions: Field required")
            if record.predictions.file != f"{record.id}.parquet":
                return DamagedRecord(path=path, reason="names the predictions of another run")
        return record

    def scan(self) -> Iterator[RunRecord | StaleRecord | DamagedRecord]:
        """Yield every record, ordered by id."""
        for path in sorted(self.records.glob("*.json")):
            yield self.load(path)

    def predictions(self, record: DoneRun) -> PredictionTable:
        """Return a done run's test predictions.

        Raises:
            UserError: the file is missing or does not match the record.
        """
        assert record.predictions is not None, f"{record.id} was not read from a store"
        content = self._prediction_bytes(record, record.predictions)
        import numpy as np
        from pyarrow import BufferReader
        from pyarrow.parquet import ParquetFile  # takes a third of the time of pandas' reader

        columns = ParquetFile(BufferReader(content)).read(use_threads=False)
        names = [name for name in columns.column_names if name not in ("image_id", "label", "predicted")]
        return PredictionTable(
            image_id=tuple(columns["image_id"].to_pylist()),
            label=columns["label"].to_numpy(),
            predicted=columns["predicted"].to_numpy(),
            probabilities=np.stack([columns[name].to_numpy() for name in names], axis=1),
        )

    def exhibit(self, name: str) -> bytes | None:
        """Return an exhibit's content, or None if it is missing.

        Raises:
            UserError: the file cannot be read or is damaged.
        """
        path = self.exhibits / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        if not is_complete(name, content):
            raise UserError(
                f"{path}: damaged. Delete it; the report then leaves its pictures out, unless its runs are run again "
                "with --force."
            )
        return content


def is_of_another_protocol(content: bytes) -> bool:
    """Return whether a record or floor row was made under another protocol version."""
    try:
        record = from_json(content)
    except ValueError:
        return False
    version = record.get("protocol_version") if isinstance(record, dict) else None
    return isinstance(version, int) and version != PROTOCOL_VERSION


def find_results(results: Path, name: str) -> Store:
    """Return the store of a results folder.

    Args:
        results: parent of the results folders.
        name: name of the folder.

    Raises:
        UserError: the folder is missing; the message suggests the most similar name.
    """
    store = Store(results / name)
    if not store.matrix.is_file():
        known = [path.parent.name for path in results.glob("*/matrix.yaml")]
        raise UserError(f"{store.folder}: no results of this name.{did_you_mean(name, known)}")
    return store
