"""The two datasets of Oxford's Visual Geometry Group: flat folders of images, with lists beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.data.catalogue import DatasetInfo, SplitName
from benchmark.data.listing import ListedFile, listed
from benchmark.errors import UserError


def pets(info: DatasetInfo, root: Path) -> Iterator[ListedFile]:
    """Yield the pets: ``annotations/{trainval,test}.txt`` with lines ``name class-id species breed-id``.

    Raises:
        UserError: a list or an image is missing, or a line's class is not the one that its name says.
    """
    folders: tuple[tuple[str, SplitName], ...] = (("trainval.txt", "train"), ("test.txt", "test"))
    for file, split in folders:
        path = root / "annotations" / file
        for number, line in enumerate(_text(info, path).splitlines(), start=1):
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
            yield _image(info, root, f"images/{parts[0]}.jpg", label, split)


def flowers(info: DatasetInfo, root: Path) -> Iterator[ListedFile]:
    """Yield the flowers: ``imagelabels.mat`` (labels 1..102) and ``setid.mat`` (numbers from 1 in trnid, valid, tstid).

    Raises:
        UserError: a list or an image is missing or is not what it should be.
    """
    labels = _matrix(info, root / "imagelabels.mat", "labels")
    keys: tuple[tuple[str, SplitName], ...] = (("trnid", "train"), ("valid", "validation"), ("tstid", "test"))
    for key, split in keys:
        for number in _matrix(info, root / "setid.mat", key):
            if not 1 <= number <= len(labels) or not 1 <= labels[number - 1] <= len(info.classes):
                raise UserError(f"dataset {info.name}: {root / 'setid.mat'} names image {number}, which has no label.")
            yield _image(info, root, f"jpg/image_{number:05d}.jpg", labels[number - 1] - 1, split)


def _text(info: DatasetInfo, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"dataset {info.name}: {path} cannot be read ({error}). {_again(info)}") from None


def _matrix(info: DatasetInfo, path: Path, key: str) -> list[int]:
    import scipy.io

    try:
        values = scipy.io.loadmat(path)[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"dataset {info.name}: {path} cannot be read ({error}). {_again(info)}") from None
    return [int(value) for value in values.ravel()]


def _image(info: DatasetInfo, root: Path, name: str, label: int, split: SplitName) -> ListedFile:
    try:
        return listed(root / name, root, label, split)
    except FileNotFoundError:
        raise UserError(f"dataset {info.name}: {root / name} is missing. {_again(info)}") from None


def _again(info: DatasetInfo) -> str:
    return f"Move the folder away and fetch it again with `python -m benchmark datasets prepare {info.name}`."
