"""The files of a catalogue dataset, with the label and the official split of each; no image is opened."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.data import oxford
from benchmark.data.catalogue import SPLITS, ClassFolders, DatasetInfo
from benchmark.data.listing import ListedFile, Listing, files_below, folders_in, listed, make_listing
from benchmark.errors import UserError
from benchmark.locations import data_directory


def list_dataset(info: DatasetInfo, data_dir: Path | None) -> Listing:
    """Return the files of a catalogue dataset.

    Args:
        info: the catalogue's entry.
        data_dir: see `data_directory`; used only for datasets that live there.

    Raises:
        UserError: the dataset is missing, or not in its layout.
    """
    files = list(_files(info, data_dir))
    return make_listing(info.name, info.name, info.classes, files, notes=_incomplete(info, files))


def _files(info: DatasetInfo, data_dir: Path | None) -> Iterator[ListedFile]:
    if isinstance(info.layout, ClassFolders):
        return _class_folders(info, info.layout, data_directory(data_dir))
    if info.layout.kind == "elpv":
        return _elpv()
    if info.layout.kind == "generated":
        return _generated(info)
    read = {"pets": oxford.pets, "flowers": oxford.flowers}[info.layout.kind]
    return read(info, _root(info, data_directory(data_dir)))


def _incomplete(info: DatasetInfo, files: Sequence[ListedFile]) -> tuple[str, ...]:
    found = Counter(file.split or "train" for file in files)
    return tuple(
        f"{found[split]} images in the {split} split, the original has {info.images.get(split, 0)}"
        for split in SPLITS
        if found[split] != info.images.get(split, 0)
    )


def _root(info: DatasetInfo, data: Path) -> Path:
    """Return the first of a layout's roots below the data directory that exists.

    Raises:
        UserError: none does; the message names the folders, the layout and the command.
    """
    folders = info.layout.splits.values() if isinstance(info.layout, ClassFolders) else ("",)
    for root in info.layout.roots:
        if all((data / root / name).is_dir() for name in folders):
            return data / root
    looked = " and ".join(str(data if root == "." else data / root) for root in info.layout.roots)
    raise UserError(
        f"dataset {info.name}: not found. Looked in {looked}; expected there: {info.source}. "
        f"Fetch it with `python -m benchmark datasets prepare {info.name}`, or name the folder that holds it "
        "with --data-dir or BENCHMARK_DATA_DIR."
    )


def _class_folders(info: DatasetInfo, layout: ClassFolders, data: Path) -> Iterator[ListedFile]:
    root = _root(info, data)
    for split, folder in layout.splits.items():
        _check_classes(info, root / folder)
        found = [
            (path, label)
            for label, name in enumerate(info.classes)
            for path in files_below(root / folder / name)
            if path.name not in layout.ignored
        ]
        clips = _clips(layout.clip, [path.name for path, _ in found])
        for (path, label), clip in zip(found, clips, strict=True):
            yield listed(path, root, label, split, clip)


def _clips(pattern: str | None, names: list[str]) -> list[str | None]:
    """Return each name's clip, or None for all where one of them does not tell."""
    matches = [re.fullmatch(pattern, name) if pattern else None for name in names]
    clips = [match.group(1) if match else None for match in matches]
    return [None] * len(names) if None in clips else clips


def _check_classes(info: DatasetInfo, folder: Path) -> None:
    if folders_in(folder) != sorted(info.classes):
        raise UserError(
            f"dataset {info.name}: {folder} holds the class folders {folders_in(folder)}, "
            f"expected {sorted(info.classes)}. "
            f"Move it away and fetch it again with `python -m benchmark datasets prepare {info.name}`."
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
    from benchmark.data.controls import control_folder

    root = control_folder(info.name)
    for split in SPLITS:
        for label, name in enumerate(info.classes):
            for path in files_below(root / split / name):  # drawn independently: each is a clip of its own
                yield listed(path, root, label, split, clip=path.relative_to(root).as_posix())
