"""Layouts of folders: read as they are meant, or refused with both readings."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.spelling import normal_form
from benchmark.errors import UserError
from benchmark.matrix.file import read_source
from tests.data.conftest import listed, touch


def of_classes(*folders: str, classes: str = "ab") -> list[str]:
    """Return names of two images of each class below each folder."""
    return [f"{folder}/{name}/{k}.png" for folder in folders for name in classes for k in range(2)]


def read(path: Path, **keys: Any) -> Counter[tuple[str, str | None]]:
    listing = listed(path, **keys)
    return Counter((listing.classes[file.label], file.split) for file in listing.files)


def both(*splits: str | None, images: int = 2) -> dict[tuple[str, str | None], int]:
    return {(name, split): images for split in splits for name in "ab"}


def refused(path: Path, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        listed(path, **keys)
    return str(caught.value)


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "test"), ("train", "test")),
        (("Training Set", "Test Set"), ("train", "test")),
        (("training_set", "test-set"), ("train", "test")),
        (("TRAIN", "VAL"), ("train", "test")),
        (("train", "eval"), ("train", "test")),
        (("train", "val", "eval"), ("train", "validation", "test")),
        (("train", "eval", "test"), ("train", "validation", "test")),
        (("train_images", "dev", "holdout"), ("train", "validation", "test")),
        (("tr", "te"), ("train", "test")),
        (("train",), ("train",)),
    ],
)
def test_the_common_words_for_splits_are_understood(
    folders: tuple[str, ...], splits: tuple[str, ...], tmp_path: Path
) -> None:
    assert read(touch(tmp_path, *of_classes(*folders))) == both(*splits)


def test_a_folder_around_the_classes_or_the_splits_is_looked_into(tmp_path: Path) -> None:
    touch(tmp_path / "1", *of_classes("archive/dataset"), "archive/README.md")
    touch(tmp_path / "2", *of_classes("images/train", "images/test"), "labels/train/1.txt", "labels/test/1.txt")
    assert read(tmp_path / "1") == both(None)
    assert read(tmp_path / "2") == both("train", "test")
    assert {file.id for file in listed(tmp_path / "1").files} >= {"archive/dataset/a/0.png"}


def test_splits_below_the_classes_are_read_as_splits(tmp_path: Path) -> None:
    touch(tmp_path / "1", *(f"{name}/{split}/{k}.png" for name in "ab" for split in ("train", "test") for k in (1, 2)))
    assert read(tmp_path / "1") == both("train", "test")
    touch(tmp_path / "1", "c/train/1.png", "c/test/1.png")
    assert read(tmp_path / "1", classes=["a", "b"]) == both("train", "test") | {("c", "train"): 1, ("c", "test"): 1}
    shutil.rmtree(tmp_path / "1" / "c")
    (tmp_path / "1" / "b" / "test").rename(tmp_path / "1" / "b" / "Test")
    assert read(tmp_path / "1") == both("train", "test")
    touch(tmp_path / "2", "a/train/1.png", "a/test/1.png", "b/train/1.png")
    assert "test has no folder for class b" in refused(tmp_path / "2")
    touch(tmp_path / "3", "a/train/1.png", "a/test/1.png", "b/1.png")
    assert "can be read in two ways" in refused(tmp_path / "3")
    touch(tmp_path / "4", *of_classes("a/train", "a/test", "b/train", "b/test"))
    assert "a and b are classes, with splits in each, or sites" in refused(tmp_path / "4")


def test_a_site_above_the_classes_is_refused_and_either_reading_can_be_chosen(tmp_path: Path) -> None:
    message = refused(touch(tmp_path, *of_classes("site 1", "site 2")))
    assert "can be read in two ways" in message
    options = [word.removeprefix("datasets.") for word in shlex.split(message) if word.startswith("datasets.classes=")]
    assert [read_source(f"folder:{tmp_path}", [f"datasets.{option}"]).classes for option in options] == [
        ("site 1", "site 2"),
        ("a", "b"),
    ], "what it says can be given"
    assert read(tmp_path, classes=["a", "b"]) == both(None, images=4)
    assert read(tmp_path, classes=["site 1", "site 2"]) == {("site 1", None): 4, ("site 2", None): 4}
    assert read(tmp_path, splits={"train": "site 1", "test": "site 2"}) == both("train", "test")
    assert "no class 'c'" in refused(tmp_path, classes=["a", "c"], splits={"train": "site 1", "test": "site 2"})


@pytest.mark.parametrize(
    ("names", "readings"),
    [
        (
            [*of_classes("train", "val", "test"), "unlabelled/1.png"],
            ("splits test, train and val, without unlabelled",),
        ),
        (of_classes("train", "test", "extra"), ("as the splits test and train, without extra",)),
        (["train/1.png", "test/1.png"], ("as the classes test and train", "need one folder per class in each")),
        (["train_1/1.png", "test_1/1.png"], ("as the classes test_1 and train_1", "need one folder per class")),
        (["images/1.png", "masks/1.png"], ("as the classes images and masks", "as images without labels in images")),
        (["fold1/1.png", "fold2/1.png"], ("as the classes fold1 and fold2", "need one folder per class")),
        (
            ["bus/1.png", "car/1.png", "train/1.png"],
            ("splits train, without bus and car", "the classes train, bus and car"),
        ),
        (
            ["good/1.png", "bad/1.png", "test/1.png"],
            ("some of them with unknown names", "as the classes test, bad and good"),
        ),
        (of_classes("fold1", "fold2", "fold3"), ("as the classes fold1, fold2 and fold3", "as the classes a and b")),
        (
            of_classes("train_2019", "test_2019"),
            ("as the classes a and b", "if some of test_2019 and"),
        ),
        (["a/1.png", "b/1.png", *of_classes("more")], ("as the classes a, b and more", "as the classes a and b")),
        (
            ["a/train/1.png", "a/test/1.png", "b/1.png"],
            ("as the classes a and b", "as splits (a/test and a/train)"),
        ),
        (of_classes("train/site1", "train/site2", "test/site1", "test/site2"), ("site1 and site2", "a and b")),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_both(
    names: list[str], readings: tuple[str, ...], tmp_path: Path
) -> None:
    message = refused(touch(tmp_path, *names))
    assert "can be read in two ways" in message
    for reading in readings:
        assert reading in message


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (of_classes("train", "training", "test"), "each split may occur only once"),
        (of_classes("val", "test"), "the split folders are test and val; one must be train"),
        (of_classes("train", "val", "eval", "test"), "are more than train, validation and test"),
        ([*of_classes("train"), "test/"], "test has no folder for class a and b"),
        (["a/1.png", "b/1.png", "c/"], "no image of class c"),
        (["1.png", "2.png"], "0 class found"),
        ([], "0 class found"),
        (["a/1.png", "A/1.png"], "'A' and 'a' are two classes whose names look the same"),
        (["1/1.png", "01/1.png", "2/1.png"], "'01' and '1' are two classes"),
        (["caf\u00e9/1.png", "cafe\u0301/1.png"], re.escape("'caf\\xe9'")),
        (["a\n/1.png", "b/1.png"], r"the name of class 'a.n' is not one line of UTF-8 text"),
        (["a/1.png", "a /1.png"], "'a' and 'a ' are two classes"),
        (["train/a/1.png", "train/b/1.png", "test/A/1.png", "test/b/1.png"], "'A' and 'a' are two classes"),
    ],
)
def test_what_is_no_layout_is_refused(names: list[str], message: str, tmp_path: Path) -> None:
    assert re.search(message, refused(touch(tmp_path, *names)))


def test_classes_that_are_called_like_splits_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "bus/1.png", "car/1.png", "train/1.png", "docs/read.txt")
    assert read(tmp_path, classes=["bus", "car", "train"]) == {(name, None): 1 for name in ("bus", "car", "train")}


def test_what_systems_and_file_servers_leave_does_not_count(tmp_path: Path) -> None:
    left = ("__MACOSX/train/._0.png", ".git/x.png", "train/a/@eaDir/0.png", "train/a/.AppleDouble/0.png")
    touch(tmp_path, *of_classes("train", "test"), *left, "train/a/._0.png", "test/b/Thumbs.db", ".DS_Store")
    assert read(tmp_path) == both("train", "test")
    (remark,) = listed(tmp_path).remarks
    assert str(remark).startswith("left out: 7 entries, hidden or system files: .DS_Store, .git")
    assert not remark.matters


def test_images_in_no_class_folder_and_other_files_are_counted(tmp_path: Path) -> None:
    loose = ("1.png", "README.txt", "train.csv", "train/2.png", "train/notes.md", "train/a/0.json")
    touch(tmp_path, *of_classes("train", "test"), *loose)
    found = {str(remark): remark.matters for remark in listed(tmp_path).remarks}
    assert found == {
        "left out: 2 entries, in no class folder: 1.png, train/2.png": True,
        "left out: 1 entry, tables that are not named labels.csv: train.csv": True,
        "left out: 1 entry, not images by their names (*.json): train/a/0.json": False,
        "left out: 1 entry, not images by their names (*.md): train/notes.md": False,
        "left out: 1 entry, not images by their names (*.txt): README.txt": False,
    }
    touch(tmp_path, "more/1.png")
    (remark, *_) = listed(tmp_path, splits={"train": "train", "test": "test"}).remarks
    assert "3 entries, in no class folder" in remark.text
    assert remark.names == ("1.png", "more/1.png", "train/2.png")


def test_folders_inside_of_class_folders_belong_to_the_class_and_it_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/day/1.png", "a/night/deep/1.png", "b/1.png")
    assert read(tmp_path) == {("a", None): 3, ("b", None): 1}
    (remark,) = listed(tmp_path).remarks
    assert (
        str(remark) == "taken: the images of 2 folders inside class folders, as images of these classes: a/day, a/night"
    )
    assert remark.matters


NAMES = ("train", "Test", "val", "a", "b", "A", "site 1", "images", "more")
PATHS = st.lists(st.lists(st.sampled_from(NAMES), max_size=3).map("/".join), min_size=1, max_size=12, unique=True)


@settings(max_examples=100, deadline=None)
@given(PATHS)
def test_of_any_folder_each_image_is_of_a_class_above_it_or_left_out_or_it_is_refused(paths: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = {f"{path}/1.png".lstrip("/") for path in paths}
        try:
            listing = listed(touch(Path(folder), *names))
        except UserError:
            return
        assert not {"train", "Test", "val"} & {*listing.classes}, "splits do not become classes"
        assert len({normal_form(name) for name in listing.classes}) == len(listing.classes)
        for file in listing.files:
            parts = file.id.split("/")
            assert listing.classes[file.label] in parts
            assert file.split or not {"train", "Test", "val"} & {*parts}, "a split is not overlooked"
        left_out = {name for remark in listing.remarks if "left out" in remark.text for name in remark.names}
        assert names == {file.id for file in listing.files} | left_out
