"""MedMNIST archives: six arrays in one .npz file, unpacked once into one file per image in the cache folder.

Each split has ``images``, uint8, shape (n, side, side), and ``labels``, whole numbers, shape (n, 1). The files are PGM,
a header followed by the bytes of the array, so that their hashes do not depend on the version of an encoder. They take
one byte per pixel, and at least one disk block each.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from benchmark.data.catalogue import DatasetInfo, SplitName
from benchmark.data.decoding.pool import Progress
from benchmark.data.hashes import hash_files
from benchmark.data.listing import ListedFile
from benchmark.errors import UserError
from benchmark.files import build_folder_once
from benchmark.locations import cache_directory

_WORDS: Mapping[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
_MEMBERS = sorted(f"{word}_{what}.npy" for word in _WORDS.values() for what in ("images", "labels"))
_REPORTED = 1000  # images between two progress reports


def list_archive(info: DatasetInfo, path: Path) -> Iterator[ListedFile]:
    """Yield the images of an archive by split and position in its array, ``test/00012``; `unpack_archive` writes them.

    Only headers and labels are read, and the entire archive once for its hash.

    Raises:
        UserError: the archive cannot be read, or does not match the catalogue.
    """
    labels, folder = _labels(info, path), _folder(info, path)
    for split, of_split in labels.items():
        for position, label in enumerate(of_split.tolist()):
            name = _name(info, split, position)
            yield ListedFile(name, folder / f"{name}.pgm", label, split, None)


def unpack_archive(info: DatasetInfo, path: Path, progress: Progress | None = None) -> None:
    """Write the files of an archive's images, unless they exist.

    Args:
        info: the catalogue's entry.
        path: the archive, which has passed `list_archive`.
        progress: called with "unpacking".

    Raises:
        UserError: it is not the original, or the cache folder cannot be written.
    """
    from benchmark.data.download.web import matches  # imports HTTP clients, which nothing else here needs

    with build_folder_once(_folder(info, path)) as temporary:
        if temporary is None:
            return
        expected = info.downloads[0].hash
        if not matches(path, expected):
            raise _refusal(info, path, f"is not the original, whose hash is {expected}")
        pixels = info.layout.side**2
        header = b"P5 %d %d 255\n" % (info.layout.side, info.layout.side)
        done, total = 0, sum(info.images.values())
        with zipfile.ZipFile(path) as archive:
            for split, number in info.images.items():
                (temporary / split).mkdir()
                with archive.open(f"{_WORDS[split]}_images.npy") as file:
                    _read_header(file)
                    for position in range(number):
                        name = f"{_name(info, split, position)}.pgm"
                        (temporary / name).write_bytes(header + file.read(pixels))
                        done += 1
                        if progress is not None and (done % _REPORTED == 0 or done == total):
                            progress("unpacking", done, total)


def _name(info: DatasetInfo, split: SplitName, position: int) -> str:
    """Return an image's id; all ids of a split have equally many digits, and so sort in the order of the array."""
    digits = max(5, len(str(info.images[split] - 1)))
    return f"{split}/{position:0{digits}d}"


def _folder(info: DatasetInfo, path: Path) -> Path:
    (hashed,) = hash_files(info.name, [path])
    if hashed.problem is not None:
        raise UserError(f"dataset {info.name}: {path} {hashed.problem}.")
    return cache_directory() / "generated" / f"{info.name}-{hashed.sha256[:16]}"


def _labels(info: DatasetInfo, path: Path) -> dict[SplitName, NDArray[Any]]:
    """Return the labels of each split, shape (n,), after a check of everything in the archive except the pixels."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != _MEMBERS:
                raise _refusal(info, path, f"contains {', '.join(archive.namelist())} instead of {', '.join(_MEMBERS)}")
            for split, number in info.images.items():
                for what, shape in (("images", (number, info.layout.side, info.layout.side)), ("labels", (number, 1))):
                    member = f"{_WORDS[split]}_{what}.npy"
                    with archive.open(member) as file:
                        shape_found, by_columns, kind = _read_header(file)
                        length = archive.getinfo(member).file_size - file.tell()
                    if kind.hasobject:
                        raise _refusal(info, path, f"contains pickled Python objects in {member}, which are not read")
                    wanted = kind == np.uint8 and not by_columns if what == "images" else kind.kind in "iu"
                    if shape_found != shape or not wanted:
                        meant = f"{'uint8' if what == 'images' else 'whole numbers'} of shape {shape}"
                        raise _refusal(info, path, f"has {kind} of shape {shape_found} as {member} instead of {meant}")
                    if length != kind.itemsize * math.prod(shape):
                        raise _refusal(info, path, f"is damaged: the length of {member} differs from its header")
                with archive.open(member) as file:
                    found[split] = npy.read_array(file, allow_pickle=False).ravel()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _refusal(info, path, f"is damaged or truncated ({error})") from None
    except OSError as error:
        raise UserError(f"dataset {info.name}: {path} cannot be read ({error.strerror}).") from None
    for split, labels in found.items():
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(info.classes):
            raise _refusal(info, path, f"has labels in {split} that are not from 0 to {len(info.classes) - 1}")
    return found


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and type of the array that follows."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        raise ValueError(f"unknown version {version} of NumPy's array format")
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = readers[version](file)
    return found


def _refusal(info: DatasetInfo, path: Path, why: str) -> UserError:
    return UserError(
        f"dataset {info.name}: {path} {why}. Move it away and fetch the original with "
        f"`python -m benchmark datasets prepare {info.name}`; your own images are read as folder:PATH."
    )
