"""Merging of results folders of one matrix, made by several people or machines, into a new folder.

A run that several folders have with the same results is taken from the first of them. Where its results differ, the
first folder's are used, and the others are kept apart: ``conflicts/`` has a results folder for each source that needs
one. Nothing is averaged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix import file
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.tuning import dependencies, every_run
from benchmark.records import groups_file
from benchmark.records.floor import FloorRow, FloorStore, floor_specs
from benchmark.records.record import DoneRun, FinishedRun, RunRecord
from benchmark.records.store import CONFLICTS, DamagedRecord, StaleRecord, Store
from benchmark.spreadsheet import cell
from benchmark.words import listed

PROVENANCE = "provenance.csv"
"""File with the folder that each record and floor row was taken from, as ``merge`` was given it."""

_OF_THE_EXECUTION = {"spec", "environment", "timing", "memory", "started_at", "finished_at", "log", "exhibits"}
"""Fields that may differ between two executions with the same results; runs with one id have one definition."""


@dataclass(frozen=True)
class Conflict:
    """Different results of one run or floor row.

    Attributes:
        what: title of the run or row.
        id: its id.
        used: the source whose result is used.
        other: the source whose result is kept apart.
    """

    what: str
    id: str
    used: Path
    other: Path


@dataclass
class Merged:
    """Outcome of a merge.

    Attributes:
        matrix: matrix of the new folder.
        taken: number of run records taken, by source.
        conflicts: results that are kept apart.
        damaged: files that were left out because they are damaged.
        left_out: a line for each other record, and for values of a matrix, that were left out, with the reason.
    """

    matrix: Matrix
    taken: dict[Path, int]
    conflicts: list[Conflict] = field(default_factory=list)
    damaged: list[DamagedRecord] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def merge(folders: Sequence[Path], into: Path, name: str) -> Merged:
    """Write the records, floor rows, groups, thumbnails and weights of results folders into an empty folder.

    What a source keeps in ``conflicts/`` is merged after all sources.

    Args:
        folders: the sources.
        into: the new folder; its matrix file is written last.
        name: name of the new folder's matrix.

    Raises:
        UserError: a source has no results, or the sources' matrices, images, or groups of test images differ.
    """
    sources = [*folders, *(inner for folder in folders for inner in _apart(folder))]
    chosen, matrix = _matrix(sources, name)
    merging = _Merging(sources, Store(into), Merged(matrix, dict.fromkeys(folders, 0)))
    merging.merged.left_out += _other_values(chosen, folders)
    groups = _groups(sources)
    merging.merge_runs()
    merging.merge_floor()
    merging.finish(groups)
    return merging.merged


def _apart(folder: Path) -> list[Path]:
    return sorted(path.parent for path in (folder / CONFLICTS).glob("*/matrix.yaml"))


def _matrix(sources: Sequence[Path], name: str) -> tuple[Path, Matrix]:
    """Return the first source that has all runs of the others, and its matrix under another name.

    Raises:
        UserError: no source has all runs, or a source has no matrix.
    """
    for source in sources:
        if not Store(source).matrix.is_file():
            raise UserError(f"{source}: no results here (no matrix.yaml). Name a results folder, e.g. results/quick.")
    runs = {source: dependencies(file.load(Store(source).matrix)) for source in sources}
    every = set().union(*runs.values())
    for source, own in runs.items():
        if own == every:
            return source, file.load(Store(source).matrix, (), name)
    largest = max(runs, key=lambda source: len(runs[source]))
    other, lacking = max(((each, len(own - runs[largest])) for each, own in runs.items()), key=lambda pair: pair[1])
    raise UserError(
        f"{other}: results of another matrix: {lacking} of its runs are not in {largest}/matrix.yaml. Only results "
        "of one matrix can be merged, or of a part of it."
    )


def _other_values(chosen: Path, folders: Sequence[Path]) -> Iterator[str]:
    """Yield a line for each folder whose matrix has other values than that of the chosen source, with their keys."""
    used = file.load(Store(chosen).matrix).model_dump()
    for folder in folders:
        own = file.load(Store(folder).matrix).model_dump()
        if keys := [key for key in used if own[key] != used[key] and key != "name"]:
            yield f"{Store(folder).matrix}: its values of {listed(keys)}; those of {Store(chosen).matrix} are used"


def _groups(sources: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Return the groups of all sources, by the key of their dataset.

    Raises:
        UserError: two sources group the test images of a dataset differently.
    """
    found: dict[str, dict[str, str]] = {}
    origin: dict[str, Path] = {}
    for source in sources:
        for dataset, groups in groups_file.read(source).items():
            if found.setdefault(dataset, groups) != groups:
                raise UserError(
                    f"{source / groups_file.FILE}: groups the test images of {dataset} differently from "
                    f"{origin[dataset] / groups_file.FILE}. Intervals depend on it: make the two files agree."
                )
            origin.setdefault(dataset, source)
    return found


@dataclass
class _Merging:
    sources: Sequence[Path]
    store: Store
    merged: Merged
    origin: dict[str, Path] = field(default_factory=dict)
    """Source of each record and floor row that was taken, by id."""
    fingerprints: dict[str, tuple[str, Path]] = field(default_factory=dict)
    """Fingerprint of the images of each dataset, and the first source that has it."""
    apart: dict[Path, Store] = field(default_factory=dict)
    """Stores of the results that are kept apart, by source."""

    def merge_runs(self) -> None:
        """Take each run's record, a finished one if there is any."""
        titles = {spec.id: self.merged.matrix.title(spec) for spec in every_run(self.merged.matrix)}
        found: dict[str, list[tuple[Path, RunRecord]]] = {}
        for source in self.sources:
            for record in self._records(source, set(titles)):
                found.setdefault(record.id, []).append((source, record))
        for run_id, own in sorted(found.items()):
            finished = [pair for pair in own if isinstance(pair[1], FinishedRun)]
            source, record = (finished or own)[0]
            self._take_run(source, record, self.store)
            self.origin[run_id] = source
            if source in self.merged.taken:
                self.merged.taken[source] += 1
            kept = [(source, record)]
            for other, another in finished[1:]:
                if not any(_same_results(pair, (other, another)) for pair in kept):
                    kept.append((other, another))
                    self._take_run(other, another, self._store_apart(other))
                    self.merged.conflicts.append(Conflict(titles[run_id], run_id, source, other))

    def _records(self, source: Path, known: set[str]) -> Iterator[RunRecord]:
        """Yield the records of a source's runs; note which files are left out."""
        store = Store(source)
        for item in store.scan():
            damaged = item if isinstance(item, DamagedRecord) else None
            if isinstance(item, DoneRun):
                damaged = store.damaged_predictions(item)
            if damaged is not None:
                self.merged.damaged.append(damaged)
            elif isinstance(item, StaleRecord):
                self.merged.left_out.append(f"{store.path(item.id)}: made under another protocol version")
            elif not isinstance(item, DamagedRecord):
                if item.id not in known:
                    self.merged.left_out.append(f"{store.path(item.id)}: belongs to no run of this matrix")
                    continue
                if isinstance(item, FinishedRun):
                    self._check_images(source, item)
                yield item

    def _check_images(self, source: Path, record: FinishedRun) -> None:
        """Raise UserError if another record has other images of the same dataset."""
        own = record.dataset.fingerprint
        known, first = self.fingerprints.setdefault(record.spec.source.model_dump_json(), (own, source))
        if known != own:
            raise UserError(
                f"{Store(source).path(record.id)}: trained on other images of {record.spec.dataset} (fingerprint "
                f"{own[:12]}) than records in {first} ({known[:12]}). Only results on the same images can be merged."
            )

    def _take_run(self, source: Path, record: RunRecord, store: Store) -> None:
        names = [f"records/{record.id}.json", f"weights/{record.id}.safetensors"]
        if isinstance(record, DoneRun):
            names.append(f"records/{record.id}.parquet")
            if record.exhibits is not None and record.exhibits.thumbnails is not None:
                names.append(f"{store.exhibits.name}/{record.exhibits.thumbnails}")
        _copy(source, names, store.folder)

    def merge_floor(self) -> None:
        """Take each floor row on the same images as the runs."""
        known = {spec.id: spec for spec in floor_specs(every_run(self.merged.matrix))}
        for row_id, spec in known.items():
            kept: list[tuple[Path, FloorRow]] = []
            for source in self.sources:
                row = FloorStore(source).load(row_id)
                if isinstance(row, DamagedRecord):
                    self.merged.damaged.append(row)
                images, _ = self.fingerprints.get(spec.source.portable.model_dump_json(), (None, None))
                if not isinstance(row, FloorRow) or row.fingerprint != (images or row.fingerprint):
                    continue
                if any(_same_row(pair, (source, row)) for pair in kept):
                    continue
                store = self._store_apart(source) if kept else self.store
                _copy(source, [f"floor/{row_id}.json", f"floor/{row_id}.parquet"], store.folder)
                if kept:
                    title = f"floor row {spec.method} of {spec.dataset}"
                    self.merged.conflicts.append(Conflict(title, row_id, kept[0][0], source))
                else:
                    self.origin[row_id] = source
                kept.append((source, row))

    def _store_apart(self, source: Path) -> Store:
        if source not in self.apart:
            name = f"{self.sources.index(source) + 1}-{source.resolve().name}"
            self.apart[source] = Store(self.store.folder / CONFLICTS / name)
        return self.apart[source]

    def finish(self, groups: groups_file.Groups) -> None:
        """Write the groups, the origin of each record, and last the matrix."""
        for source, apart in self.apart.items():
            groups_file.add(apart.folder, groups)
            write_atomically(apart.matrix, Store(source).matrix.read_bytes())
        groups_file.add(self.store.folder, groups)
        buffer = io.StringIO()
        rows = csv.writer(buffer, lineterminator="\n")
        rows.writerow(("id", "folder"))
        rows.writerows((each, cell(str(source))) for each, source in sorted(self.origin.items()))
        write_atomically(self.store.folder / PROVENANCE, buffer.getvalue().encode())
        write_atomically(self.store.matrix, file.dump(self.merged.matrix).encode())


def _copy(source: Path, names: Sequence[str], target: Path) -> None:
    """Copy those of some files that exist."""
    for path in (source / name for name in names):
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        write_atomically(target / path.relative_to(source), content)


def _same_results(first: tuple[Path, RunRecord], second: tuple[Path, RunRecord]) -> bool:
    """Return whether two executions of a run have the same results, to the last bit; their times may differ."""
    (place, one), (other_place, other) = first, second
    if _results(one) != _results(other):
        return False
    if not isinstance(one, DoneRun) or not isinstance(other, DoneRun):
        return True
    if one.predictions == other.predictions:
        return True
    a, b = Store(place).predictions(one), Store(other_place).predictions(other)
    return a.image_id == b.image_id and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("label", "predicted", "probabilities")
    )


def _results(record: RunRecord) -> dict[str, object]:
    found = record.model_dump(mode="json", exclude={*_OF_THE_EXECUTION, "predictions"})
    for epoch in found["history"]:
        del epoch["train_seconds"]
    return found


def _same_row(first: tuple[Path, FloorRow], second: tuple[Path, FloorRow]) -> bool:
    """Return whether two computations of a floor row have the same results."""
    (place, one), (other_place, other) = first, second
    execution = {"spec", "seconds", "finished_at", "environment", "predictions"}
    if one.model_dump(exclude=execution) != other.model_dump(exclude=execution):
        return False
    if one.predictions == other.predictions:
        return True
    return all(map(np.array_equal, FloorStore(place).answers(one), FloorStore(other_place).answers(other)))
