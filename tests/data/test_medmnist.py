"""The archives of MedMNIST: read as they are published, or refused with the reason."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from PIL import Image

from benchmark.data.catalogue import CATALOGUE, SIDES, SPLITS, DatasetInfo, Download, SplitName
from benchmark.data.download.prepare import prepare
from benchmark.data.layouts import list_dataset, unpack_dataset
from benchmark.errors import UserError
from tests.data.conftest import Server, files_in

Arrays = dict[str, np.ndarray]

PUBLISHED = {
    "breastmnist": (2, 546, 78, 156),
    "pneumoniamnist": (2, 4_708, 524, 624),
    "octmnist": (4, 97_477, 10_832, 1_000),
    "tissuemnist": (8, 165_466, 23_640, 47_280),
    "organamnist": (11, 34_561, 6_491, 17_778),
    "organcmnist": (11, 12_975, 2_392, 8_216),
    "organsmnist": (11, 13_932, 2_452, 8_827),
}
"""Classes, and images for training, validation and test, in the table of the package medmnist 3.0.2."""

SIZES: Mapping[SplitName, int] = {"train": 12, "validation": 4, "test": 6}


def arrays(**changes: np.ndarray) -> Arrays:
    """Return the arrays of a small archive of two classes at 28 pixels, some of them replaced."""
    return {**drawn(2, 28), **changes}


def drawn(classes: int, side: int) -> Arrays:
    """Return the arrays of a small archive."""
    rng = np.random.default_rng(0)
    made = {}
    for word, number in zip(("train", "val", "test"), SIZES.values(), strict=True):
        made[f"{word}_images"] = rng.integers(0, 256, (number, side, side), dtype=np.uint8)
        made[f"{word}_labels"] = (np.arange(number, dtype=np.uint8) % classes)[:, None]
    return made


def small(data: Path, made: Arrays) -> DatasetInfo:
    """Write an archive into a data directory and return the entry of which it is the original."""
    path = data / "medmnist" / "breastmnist.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **made)  # type: ignore[arg-type]
    return original(path)


def original(path: Path) -> DatasetInfo:
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    return replace(CATALOGUE["breastmnist"], images=SIZES, downloads=(Download((path.name,), f"md5:{digest}"),))


def test_every_image_has_the_pixels_the_class_and_the_split_of_the_archive_and_its_place_as_id(tmp_path: Path) -> None:
    made = arrays()
    info = small(tmp_path, made)
    listing = list_dataset(info, tmp_path)
    unpack_dataset(info, tmp_path)
    assert listing.classes == ("malignant", "normal, benign")
    assert Counter(file.split for file in listing.files) == SIZES
    assert "test/00005" in {file.id for file in listing.files}
    for file in listing.files:
        split, place = file.id.split("/")
        word = {"validation": "val"}.get(split, split)
        with Image.open(file.path) as image:
            assert image.mode == "L"
            assert (np.asarray(image) == made[f"{word}_images"][int(place)]).all()
        assert (file.split, file.label) == (split, made[f"{word}_labels"][int(place), 0])


def test_the_catalogue_has_the_seven_grey_sets_in_four_sizes_with_the_packages_addresses_and_hashes() -> None:
    sets = {name: info for name, info in CATALOGUE.items() if info.layout.kind == "medmnist"}
    assert set(sets) == {f"{name}{size}" for name in PUBLISHED for size in ("", "-64", "-128", "-224")}
    for name, info in sets.items():
        (download,) = info.downloads
        assert download.file == info.layout.file == name.replace("-", "_") + ".npz"
        assert download.urls[0].startswith("https://zenodo.org/records/10519652/files/")
        assert not info.colour
        assert info.licence == "CC BY 4.0"
        base, _, side = name.partition("-")
        assert (len(info.classes), *(info.images[split] for split in SPLITS)) == PUBLISHED[base]
        assert info.layout.side == int(side or 28)
    assert len({info.downloads[0].hash for info in sets.values()}) == 7 * len(SIDES)
    assert sets["breastmnist"].downloads[0].hash == "md5:750601b1f35ba3300ea97c75c52ff8f6", "the file at hand"
    assert sets["pneumoniamnist"].downloads[0].hash == "md5:28209eda62fecd6e6a2d98b1501bb15f", "the file at hand"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (sum(numbers) > 20_000))
        for name, (_, *numbers) in PUBLISHED.items()
    ],
)
def test_an_archive_of_the_published_size_is_listed_with_its_splits_and_one_image_less_is_refused(
    name: str, tmp_path: Path
) -> None:
    classes, *numbers = PUBLISHED[name]
    assert len(CATALOGUE[name].classes) == classes

    def write(numbers: list[int]) -> None:
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for word, number in zip(("train", "val", "test"), numbers, strict=True):
                labels = (np.arange(number) % classes).astype(np.uint8)[:, None]
                for what, array in (("images", np.zeros((number, 28, 28), np.uint8)), ("labels", labels)):
                    with archive.open(f"{word}_{what}.npy", "w") as file:
                        npy.write_array(file, array)

    write(numbers)
    listing = list_dataset(CATALOGUE[name], tmp_path)
    assert [listing.sizes[split] for split in CATALOGUE[name].images] == numbers
    assert listing.notes == ()
    train = [file.label for file in listing.files if file.split == "train"]
    assert train == [place % classes for place in range(numbers[0])], "ids sort as the array does"
    write([*numbers[:2], numbers[2] - 1])
    with pytest.raises(UserError, match=r"as test_images\.npy instead of uint8 of shape"):
        list_dataset(CATALOGUE[name], tmp_path)


class Trap:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_and_never_loaded(tmp_path: Path) -> None:
    objects = np.empty((12, 1), dtype=object)
    objects[:] = Trap(tmp_path / "executed")
    for key in ("train_labels", "train_images"):
        info = small(tmp_path, arrays(**{key: objects}))
        with pytest.raises(UserError, match=rf"breastmnist\.npz contains pickled Python objects in {key}\.npy"):
            list_dataset(info, tmp_path)
    path = tmp_path / "medmnist" / "breastmnist.npz"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    with pytest.raises(UserError, match=r"breastmnist\.npz is damaged or truncated"):
        list_dataset(original(path), tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.999])
def test_a_cut_archive_is_named(part: float, tmp_path: Path, cache: Path) -> None:
    small(tmp_path, arrays())
    path = tmp_path / "medmnist" / "breastmnist.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=r"breastmnist\.npz is damaged or truncated .*datasets prepare breastmnist"):
        list_dataset(original(path), tmp_path)
    assert not (cache / "generated").exists()


WRONG: dict[str, tuple[Arrays, str]] = {
    "size": (
        {"val_images": np.zeros((4, 64, 64), np.uint8)},
        r"uint8 of shape \(4, 64, 64\) as val_images\.npy",
    ),
    "colour": ({"val_images": np.zeros((4, 28, 28, 3), np.uint8)}, r"shape \(4, 28, 28, 3\) as val_images"),
    "depth": ({"val_images": np.zeros((4, 28, 28), np.uint16)}, r"has uint16 of shape \(4, 28, 28\) as val_images"),
    "order": ({"val_images": np.asfortranarray(np.zeros((4, 28, 28), np.uint8))}, "uint8 of shape"),
    "several labels": ({"test_labels": np.zeros((6, 14), np.uint8)}, r"shape \(6, 14\) as test_labels"),
    "fractions": ({"test_labels": np.zeros((6, 1), np.float32)}, "has float32 of shape"),
    "unknown class": ({"test_labels": np.full((6, 1), 2)}, "has labels in test that are not from 0 to 1"),
    "negative": ({"test_labels": np.full((6, 1), -1)}, "has labels in test that are not from 0 to 1"),
    "one more": ({"note": np.zeros(1)}, "contains .*note.npy instead of test_images.npy"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_arrays_that_are_not_the_catalogues_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    changes, message = WRONG[kind]
    info = small(tmp_path, arrays(**changes))
    with pytest.raises(UserError, match=message):
        list_dataset(info, tmp_path)


def test_a_missing_array_and_one_shorter_than_it_says_are_refused(tmp_path: Path) -> None:
    made = arrays()
    info = small(tmp_path, {key: array for key, array in made.items() if key != "val_labels"})
    with pytest.raises(UserError, match=r"instead of test_images\.npy, .*val_labels\.npy"):
        list_dataset(info, tmp_path)
    path = tmp_path / "medmnist" / "breastmnist.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in made.items():
            with archive.open(f"{key}.npy", "w") as file:
                npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
                file.write(array.tobytes()[: -1 if key == "test_images" else None])
    with pytest.raises(UserError, match=r"the length of test_images\.npy differs from its header"):
        list_dataset(original(path), tmp_path)


def test_another_archive_of_the_same_form_is_not_taken_for_the_original(tmp_path: Path, cache: Path) -> None:
    info = small(tmp_path, arrays())
    small(tmp_path, arrays(test_labels=np.zeros((6, 1), np.uint8)))
    with pytest.raises(UserError, match=r"breastmnist\.npz is not the original, whose hash is md5:"):
        unpack_dataset(info, tmp_path)
    assert [path.name for path in (cache / "generated").iterdir() if path.suffix != ".lock"] == []


def served(server: Server, name: str) -> tuple[DatasetInfo, bytes]:
    """Let the server have a small archive at a set's own path, in place of the original, and return its entry."""
    info = CATALOGUE[name]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **drawn(len(info.classes), info.layout.side))  # type: ignore[arg-type]
    body = buffer.getvalue()
    path = info.downloads[0].urls[0].removeprefix("https://zenodo.org/")
    server.bodies[path] = body
    download = Download((server.url(path),), f"md5:{hashlib.md5(body).hexdigest()}")
    return replace(info, images=SIZES, downloads=(download,)), body


def test_each_set_and_size_is_downloaded_once_and_all_lie_next_to_each_other(server: Server, tmp_path: Path) -> None:
    names = [name for name, info in CATALOGUE.items() if info.layout.kind == "medmnist"]
    bodies = {}
    for name in names:
        info, bodies[name] = served(server, name)
        assert len(prepare(info, tmp_path).files) == sum(SIZES.values())
        prepare(info, tmp_path)
    places = {name: f"medmnist/{name.replace('-', '_')}.npz" for name in names}
    assert files_in(tmp_path) == sorted(places.values())
    assert all((tmp_path / places[name]).read_bytes() == body for name, body in bodies.items())
    assert len(server.requests) == len(names) == 28


@pytest.mark.parametrize("without_ranges", [False, True])
def test_an_archive_that_comes_in_two_parts_is_the_original(
    without_ranges: bool, server: Server, tmp_path: Path
) -> None:
    info, body = served(server, "organcmnist-64")
    (path,) = server.bodies
    server.without_ranges = without_ranges
    server.cut_after[path] = 1000
    prepare(info, tmp_path)
    assert server.requests == [(path, None), (path, "bytes=1000-")]
    assert (tmp_path / "medmnist" / "organcmnist_64.npz").read_bytes() == body


def test_an_archive_of_another_md5_is_refused_by_name_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    info, body = served(server, "octmnist")
    (path,) = server.bodies
    server.bodies[path] = body[:-1] + b"?"
    expected = info.downloads[0].hash
    with pytest.raises(UserError, match=rf"octmnist: octmnist\.npz cannot be downloaded:\n.* expected hash {expected}"):
        prepare(info, tmp_path)
    assert files_in(tmp_path) == []


def test_a_file_that_is_there_is_kept_and_not_taken_for_an_archive(server: Server, tmp_path: Path) -> None:
    info, _ = served(server, "breastmnist")
    path = tmp_path / "medmnist" / "breastmnist.npz"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match=r"breastmnist\.npz exists and is kept as it is: move it away first"):
        prepare(info, tmp_path)
    assert path.read_bytes() == b"precious"
    assert server.requests == []
