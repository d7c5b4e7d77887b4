"""The files of a catalogue dataset, with the label and the official split of each; no image is opened."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benchmark.data.catalogue import SPLITS, DatasetInfo, Layout, SplitName
from benchmark.data.controls import control_folder
from benchmark.data.decoding.pixels import BadImage, open_image
from benchmark.data.decoding.pool import Progress
from benchmark.data.listing import ListedFile, Listing, files_below, folders_in, list_file, list_found, make_listing
from benchmark.data.medmnist import list_archive, unpack_archive
from benchmark.errors import UserError
from benchmark.locations import data_directory

Content = TypeVar("Content")


def list_dataset(info: DatasetInfo, data_dir: Path | None) -> Listing:
    """Return the files of a catalogue dataset.

    Args:
        info: the catalogue's entry.
        data_dir: see `data_directory`; used only for datasets that are stored there.

    Raises:
        UserError: the dataset is missing or does not have its layout.
    """
    readers = {
        "folders": _class_folders,
        "elpv": _elpv,
        "generated": _generated,
        "pets": _pets,
        "flowers": _flowers,
        "medmnist": _medmnist,
    }
    files = list(readers[info.layout.kind](info, data_directory(data_dir)))
    return make_listing(info.name, info.name, info.classes, files, notes=_incomplete(info, files))


def _incomplete(info: DatasetInfo, files: Sequence[ListedFile]) -> tuple[str, ...]:
    found = Counter(file.split or "train" for file in files)
    return tuple(
        f"{found[split]} images in the {split} split, the original has {info.images.get(split, 0)}"
        for split in SPLITS
        if found[split] != info.images.get(split, 0)
    )


def unpack_dataset(info: DatasetInfo, data_dir: Path | None, progress: Progress | None = None) -> None:
    """Write the image files of an archive, which `list_dataset` lists without writing them.

    Raises:
        UserError: the dataset is missing or not the original, or the cache folder cannot be written.
    """
    if info.layout.kind == "medmnist":
        unpack_archive(info, _root(info, data_directory(data_dir)) / info.layout.file, progress)


def _root(info: DatasetInfo, data: Path) -> Path:
    """Return the first of a layout's roots below the data directory that exists.

    Raises:
        UserError: none does; the message names the folders, the layout, and the download command, if any.
    """
    file, folders = info.layout.file, info.layout.splits.values() or [""]
    for root in info.layout.roots:
        if (data / root / file).is_file() if file else all((data / root / name).is_dir() for name in folders):
            return data / root
    looked = " and ".join(str(data if root == "." else data / root) for root in info.layout.roots)
    fetch = f"Fetch it with `python -m benchmark datasets prepare {info.name}`" if info.downloads else "Put it there"
    raise UserError(
        f"dataset {info.name}: not found. Looked in {looked}; expected there: {info.source}. "
        f"{fetch}, or name the folder that holds it with --data-dir or BENCHMARK_DATA_DIR."
    )


def _class_folders(info: DatasetInfo, data: Path) -> Iterator[ListedFile]:
    root = _root(info, data)
    folders: Iterable[tuple[SplitName | None, str]] = info.layout.splits.items() or [(None, "")]
    for split, folder in folders:
        if folders_in(root / folder) != sorted(info.classes):
            raise UserError(
                f"dataset {info.name}: {root / folder} has the class folders {folders_in(root / folder)}, "
                f"expected {sorted(info.classes)}. {_fetch_again(info)}"
            )
        found = [
            (file, label)
            for label, name in enumerate(info.classes)
            for file in files_below(root / folder / name)
            if re.fullmatch(info.layout.names, file.path.name)
        ]
        clips = _clips(info.layout, [file.path.name for file, _ in found])
        for (file, label), clip in zip(found, clips, strict=True):
            yield list_found(file, root, label, split, clip)


def _clips(layout: Layout, names: list[str]) -> list[str | None]:
    """Return each name's clip, or None for all names if one of them does not contain its clip.

    If clips are ranges of numbers, in the order in which pictures were taken, a clip is named by its first number.
    """
    matches = [re.fullmatch(layout.clip, name) if layout.clip else None for name in names]
    clips = [match.group(1) if match else None for match in matches]
    if None in clips or not layout.clip_gap:
        return [None] * len(names) if None in clips else clips
    numbers = [int(clip) for clip in clips if clip is not None]
    first: dict[int, int] = {}
    for before, number in itertools.pairwise([-layout.clip_gap - 1, *sorted({*numbers})]):
        first[number] = first[before] if number - before <= layout.clip_gap else number
    return [str(first[number]) for number in numbers]


def _elpv(_: DatasetInfo, __: Path) -> Iterator[ListedFile]:
    """Yield the solar cells of the package whose defect is certain: probability 0 or 1 in ``labels.csv``."""
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise UserError(
            "dataset elpv: the PyPI package elpv-dataset, which contains the images, "
            "is not installed. Install it with `pip install elpv-dataset` (or the extra `quick`)."
        )
    root = Path(spec.origin).parent / "data"
    table = root / "labels.csv"
    if not table.is_file():
        raise UserError(f"dataset elpv: {table} is missing. Reinstall the package: `pip install -I elpv-dataset`.")
    with table.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter=" ", skipinitialspace=True), start=1):
            try:
                name, probability = row[0], float(row[1])
            except (IndexError, ValueError):
                raise UserError(f"dataset elpv: {table}:{number} is not `image probability type`.") from None
            if probability not in (0.0, 1.0):
                continue
            if not (root / name).is_file():
                raise UserError(f"dataset elpv: {root / name}, which {table}:{number} names, is missing.")
            yield list_file(root / name, root, int(probability), None)


def _generated(info: DatasetInfo, _: Path) -> Iterator[ListedFile]:
    root = control_folder(info.name)
    for split in SPLITS:
        for label, name in enumerate(info.classes):
            for file in files_below(root / split / name):  # drawn independently: each is its own clip
                yield list_found(file, root, label, split, clip=file.path.relative_to(root).as_posix())


def _medmnist(info: DatasetInfo, data: Path) -> Iterator[ListedFile]:
    return list_archive(info, _root(info, data) / info.layout.file)


def _pets(info: DatasetInfo, data: Path) -> Iterator[ListedFile]:
    """Yield the pets: ``annotations/{trainval,test}.txt`` with lines ``name class-id species breed-id``.

    Of a subset, a list names the images, one line per class: ``Abyssinian 1 10 100-104``.

    Raises:
        UserError: a list or an image is missing, a line's class differs from the image's name, or an image is too large
            for a subset.
    """
    root = _root(info, data)
    part = _part(Path(__file__).with_name(info.layout.part)) if info.layout.part else None
    lists: Mapping[str, SplitName] = {"trainval.txt": "train", "test.txt": "test"}
    for file, split in lists.items():
        path = root / "annotations" / file
        text = _read(info, path, lambda path: path.read_text(encoding="utf-8"))
        for number, line in enumerate(text.splitlines(), start=1):
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            if len(parts) != 4 or not parts[1].isdigit() or not 1 <= int(parts[1]) <= len(info.classes):
                raise UserError(f"dataset {info.name}: {path}:{number} is not `name class-id species breed-id`.")
            label = int(parts[1]) - 1
            breed = parts[0].rsplit("_", 1)[0]
            if breed.lower() != info.classes[label].lower():
                raise UserError(
                    f"dataset {info.name}: {path}:{number} gives {parts[0]} class {parts[1]}, "
                    f"which is {info.classes[label]}: the list does not belong to this dataset."
                )
            if part is None or parts[0] in part:
                found = _image(info, root, f"images/{parts[0]}.jpg", label, split)
                if part is not None:
                    _check_small(info, found.path)
                yield found


def _part(path: Path) -> frozenset[str]:
    names = []
    for line in path.read_text(encoding="utf-8").splitlines():
        breed, *numbers = line.split()
        for first, _, last in (text.partition("-") for text in numbers):
            names += [f"{breed}_{number}" for number in range(int(first), int(last or first) + 1)]
    return frozenset(names)


def _check_small(info: DatasetInfo, path: Path) -> None:
    """Refuse an image that is too large for a subset: it has the right name, but other pixels."""
    try:
        with open_image(path.read_bytes()) as image:
            width, height = image.size
    except BadImage:
        return  # reported by `check`
    if min(width, height) > info.layout.side:
        raise UserError(
            f"dataset {info.name}: {path} has {width} x {height} pixels. This dataset is a subset of copies whose "
            f"shorter side has at most {info.layout.side} pixels; this image may be from the original, the dataset "
            f"pets. Expected: {info.source}."
        )


def _flowers(info: DatasetInfo, data: Path) -> Iterator[ListedFile]:
    """Yield the flowers: ``imagelabels.mat`` (labels 1..102) and ``setid.mat`` (numbers from 1 in trnid, valid, tstid).

    Raises:
        UserError: a list or an image is missing, or a list is damaged.
    """
    root = _root(info, data)
    labels = _numbers(info, root / "imagelabels.mat", "labels")
    keys: Mapping[str, SplitName] = {"trnid": "train", "valid": "validation", "tstid": "test"}
    for key, split in keys.items():
        for number in _numbers(info, root / "setid.mat", key):
            if not 1 <= number <= len(labels) or not 1 <= labels[number - 1] <= len(info.classes):
                raise UserError(f"dataset {info.name}: {root / 'setid.mat'} names image {number}, which has no label.")
            yield _image(info, root, f"jpg/image_{number:05d}.jpg", labels[number - 1] - 1, split)


def _numbers(info: DatasetInfo, path: Path, key: str) -> list[int]:
    import scipy.io  # takes 0.2 s, and only one dataset needs it

    return _read(info, path, lambda path: [int(value) for value in scipy.io.loadmat(path)[key].ravel()])


def _read(info: DatasetInfo, path: Path, reader: Callable[[Path], Content]) -> Content:
    try:
        return reader(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"dataset {info.name}: {path} cannot be read ({error}). {_fetch_again(info)}") from None


def _image(info: DatasetInfo, root: Path, name: str, label: int, split: SplitName) -> ListedFile:
    if not (root / name).is_file():
        raise UserError(f"dataset {info.name}: {root / name} is missing. {_fetch_again(info)}")
    return list_file(root / name, root, label, split)


def _fetch_again(info: DatasetInfo) -> str:
    if not info.downloads:
        return f"Expected there: {info.source}."
    return f"Move the folder away and fetch it again with `python -m benchmark datasets prepare {info.name}`."
