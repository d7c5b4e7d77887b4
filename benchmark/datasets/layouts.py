"""Which files make up a dataset: their paths, labels and official splits, without opening an image."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.catalogue import CATALOGUE, ClassFolders, DatasetInfo, SplitName
from benchmark.datasets.locations import data_directory
from benchmark.errors import UserError


@dataclass(frozen=True)
class ListedFile:
    """One image file, unopened.

    Attributes:
        id: the path below the dataset's root, with ``/``: unique, and the same on every machine.
        path: where it is.
        label: position in the classes.
        split: the official split; None where the dataset has none.
        clip: the clip it was taken from, where its name tells; else None.
        bytes, modified: size, and time of change in nanoseconds.
    """

    id: str
    path: Path
    label: int
    split: SplitName | None
    clip: str | None
    bytes: int
    modified: int


@dataclass(frozen=True)
class Listing:
    """A dataset's files in the order of their ids.

    Attributes:
        name: the dataset's name, fit for a file name.
        classes: names in label order.
        files: all of them.
        key: 16 hexadecimal digits over names, labels, splits, sizes and times of change: equal while nothing changed.
    """

    name: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    key: str


def list_dataset(name: str, data_dir: Path | None) -> Listing:
    """Return the files of a catalogue dataset.

    Args:
        name: a key of the catalogue.
        data_dir: see `data_directory`; used only for datasets that live there.

    Raises:
        UserError: the dataset is not there, or not in its layout.
    """
    info = CATALOGUE[name]
    if isinstance(info.layout, ClassFolders):
        files = _class_folders(info, info.layout, data_directory(data_dir))
    elif info.layout.kind == "elpv":
        files = _elpv()
    else:
        files = _generated(info)
    return make_listing(name, info.classes, files)


def make_listing(name: str, classes: tuple[str, ...], files: Iterator[ListedFile]) -> Listing:
    """Sort files by id and compute the listing's key.

    Raises:
        UserError: a class has no image.
    """
    ordered = tuple(sorted(files, key=lambda file: file.id))
    present = {file.label for file in ordered}
    empty = [word for label, word in enumerate(classes) if label not in present]
    if empty:
        raise UserError(f"dataset {name}: no image of class {', '.join(empty)} was found.")
    digest = hashlib.sha256(repr(classes).encode())
    for file in ordered:
        facts = (file.id, str(file.path), file.label, file.split, file.clip, file.bytes, file.modified)
        digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    return Listing(name=name, classes=classes, files=ordered, key=digest.hexdigest()[:16])


def listed(path: Path, root: Path, label: int, split: SplitName | None, clip: str | None = None) -> ListedFile:
    """Return the entry of one existing file."""
    status = path.stat()
    name = path.relative_to(root).as_posix()
    return ListedFile(name, path, label, split, clip, status.st_size, status.st_mtime_ns)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders; hidden ones and the systems' own droppings are left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                yield Path(parent, name)


def _class_folders(info: DatasetInfo, layout: ClassFolders, data: Path) -> Iterator[ListedFile]:
    root = next((r for r in layout.roots if all((data / r / f).is_dir() for f in layout.splits.values())), None)
    if root is None:
        raise UserError(missing(info, data, layout.roots))
    base = data / root
    found = [
        (path, label, split)
        for split, folder in layout.splits.items()
        for label, name in enumerate(_checked_classes(info, base / folder))
        for path in files_below(base / folder / name)
    ]
    for split in layout.splits:
        of_split = [(path, label) for path, label, other in found if other == split]
        clips = _clips(layout.clip, [path.name for path, _ in of_split])
        for (path, label), clip in zip(of_split, clips, strict=True):
            yield listed(path, base, label, split, clip)


def _clips(pattern: str | None, names: list[str]) -> list[str | None]:
    """Return each name's clip, or None for all where one of them does not tell."""
    matches = [re.fullmatch(pattern, name) if pattern else None for name in names]
    clips = [match.group(1) if match else None for match in matches]
    return [None] * len(names) if None in clips else clips


def _checked_classes(info: DatasetInfo, folder: Path) -> tuple[str, ...]:
    present = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
    if present != set(info.classes):
        raise UserError(
            f"dataset {info.name}: {folder} holds the class folders {sorted(present)}, "
            f"expected {sorted(info.classes)}. "
            f"Move it away and fetch it again with `python -m benchmark datasets prepare {info.name}`."
        )
    return info.classes


def missing(info: DatasetInfo, data: Path, roots: tuple[str, ...]) -> str:
    """Return the message for a dataset that is not in the data directory."""
    looked = " and ".join(str(data if root == "." else data / root) for root in roots)
    return (
        f"dataset {info.name}: not found. Looked in {looked}; expected there: {info.source}. "
        f"Fetch it with `python -m benchmark datasets prepare {info.name}`, or name the folder that holds it "
        "with --data-dir or BENCHMARK_DATA_DIR."
    )


def _elpv() -> Iterator[ListedFile]:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise UserError(
            "dataset elpv: the PyPI package elpv-dataset is not installed, which holds the images. "
            "Install it with `pip install elpv-dataset` (or the extra `quick`)."
        )
    root = Path(spec.origin).parent / "data"
    table = root / "labels.csv"
    if not table.is_file():
        raise UserError(f"dataset elpv: {table} is missing. Install the package again: `pip install -I elpv-dataset`.")
    with table.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter=" ", skipinitialspace=True), start=1):
            try:
                name, probability = row[0], float(row[1])
            except (IndexError, ValueError):
                raise UserError(f"dataset elpv: {table}:{number} is not `image probability type`.") from None
            if probability not in (0.0, 1.0):
                continue
            if not (root / name).is_file():
                raise UserError(f"dataset elpv: {root / name} is missing, which {table}:{number} names.")
            yield listed(root / name, root, int(probability), None)


def _generated(info: DatasetInfo) -> Iterator[ListedFile]:
    from benchmark.datasets.controls import control_folder

    root = control_folder(info.name)
    for split in ("train", "validation", "test"):
        for label, name in enumerate(info.classes):
            for path in files_below(root / split / name):
                yield listed(path, root, label, split)
