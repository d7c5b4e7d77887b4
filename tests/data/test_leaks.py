"""Copies, and images of one group, on both sides of a dataset's own splits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmark.data.check import check
from benchmark.data.dataset import PreparedDataset
from benchmark.data.load import list_files, load_thumbnails
from benchmark.data.scan import scan
from benchmark.data.source import DatasetSource
from benchmark.data.splits.rules import OnLeak
from benchmark.errors import UserError
from tests.data.conftest import write
from tests.factories import picture, save

SPLITS = ("train", "val", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with splits of its own, ten images of each class in each."""
    names = [f"{split}/{name}/{number}.png" for split in SPLITS for name in ("a", "b") for number in range(10)]
    return write(tmp_path / "d", *names)


def opened(folder: Path, on_leak: OnLeak = "refuse") -> PreparedDataset:
    return load_thumbnails(DatasetSource(name=f"folder:{folder}"), split_seed=0, on_leak=on_leak)


def errors(folder: Path) -> list[str]:
    source = DatasetSource(name=f"folder:{folder}")
    found = check(scan(list_files(source), source))
    return [line for finding in found if finding.severity == "error" for line in finding.lines()]


def as_it_is(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def in_another_format(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.save(target.with_suffix(".bmp"))


def with_other_metadata(source: Path, target: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "another description"
    with Image.open(source) as image:
        image.save(target, exif=exif)


def turned_as_its_metadata_say(source: Path, target: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(source) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif)


@pytest.mark.parametrize("copy", [as_it_is, in_another_format, with_other_metadata, turned_as_its_metadata_say])
def test_a_copy_of_a_test_image_among_the_training_images_stops_a_run(
    folder: Path, copy: Callable[[Path, Path], None]
) -> None:
    copy(folder / "test/a/3.png", folder / "train/a/copy.png")
    with pytest.raises(UserError) as caught:
        opened(folder)
    message = str(caught.value)
    assert "datasets check folder:" in message
    assert "--set on_leak=drop-train" in message
    told = errors(folder)
    assert len(told) == 2
    assert told[0].startswith("duplicates across splits: test/a/3.png: same as train/a/copy.")
    assert all(line in message for line in told), "check and run say the same"


def test_a_grey_image_saved_in_colour_is_a_copy(folder: Path) -> None:
    grey = picture(7, 20).convert("L")
    save(grey, folder / "train/a/grey.png")
    save(grey.convert("RGB"), folder / "test/a/rgb.png")
    assert [line.split(": ")[1] for line in errors(folder)] == ["test/a/rgb.png", "train/a/grey.png"]


def test_near_duplicates_and_copies_within_a_split_do_not_stop_a_run(folder: Path) -> None:
    as_it_is(folder / "train/a/3.png", folder / "train/a/copy.png")
    with Image.open(folder / "test/a/3.png") as image:
        image.save(folder / "train/a/near.jpg", quality=95)
    assert errors(folder) == []
    assert len(opened(folder).train) == 22


def test_leaked_copies_are_left_out_of_training_and_of_validation_and_counted(folder: Path) -> None:
    before = opened(folder)
    for source, target in (("test/a/3", "train/a/x"), ("test/a/4", "val/a/y"), ("val/b/5", "train/b/z")):
        as_it_is(folder / f"{source}.png", folder / f"{target}.png")
    after = opened(folder, "drop-train")
    for split in ("train", "validation", "test"):
        assert getattr(after, split).image_ids == getattr(before, split).image_ids
    assert "3 training or validation images with a copy, or another image of the group, in a later split: left out" in (
        after.notes
    )


def test_leaked_copies_are_kept_and_counted_where_that_is_asked_for(folder: Path) -> None:
    as_it_is(folder / "test/a/3.png", folder / "train/a/x.png")
    kept = opened(folder, "keep")
    assert "train/a/x.png" in kept.train.image_ids
    assert any(note.startswith("1 training or validation image with a copy") for note in kept.notes)
    assert any(note.endswith("in a later split: kept") for note in kept.notes)
    assert opened(folder, "drop-train").fingerprint != kept.fingerprint


def test_a_patient_on_both_sides_stops_a_run_or_is_left_out_of_training(tmp_path: Path) -> None:
    write(tmp_path, *(f"{index:02}.png" for index in range(60)))
    rows = [f"{k:02}.png,{'ab'[k % 2]},{'train' if k < 40 else 'test'},patient {k // 3}" for k in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split,group", *rows]))
    told = errors(tmp_path)
    assert told[0] == "group across splits: 39.png: of patient 13, in train"
    with pytest.raises(UserError) as caught:
        opened(tmp_path)
    assert all(line in str(caught.value) for line in told)
    dropped = opened(tmp_path, "drop-train")
    assert len(dropped.train) + len(dropped.validation) == 39
    assert len(dropped.test) == 20
    assert len(opened(tmp_path, "keep").test) == 20


@pytest.mark.parametrize("on_leak", ["refuse", "keep", "drop-train"])
def test_copies_under_two_labels_stop_a_run_whatever_leaks_do(folder: Path, on_leak: OnLeak) -> None:
    as_it_is(folder / "train/a/3.png", folder / "train/b/copy.png")
    with pytest.raises(UserError, match=r"duplicates with conflicting labels: train/a/3\.png: same as train/b/copy"):
        opened(folder, on_leak)


def test_a_dataset_of_the_catalogue_keeps_its_splits_and_counts_its_leaks(data: Path) -> None:
    source = DatasetSource(name="beans")
    shutil.copy(next((data / "beans/test/healthy").iterdir()), data / "beans/train/healthy/copy.png")
    found = load_thumbnails(source, split_seed=0, data_dir=data)
    assert len(found.train) == 19
    assert any("1 training or validation image with a copy" in note and "original" in note for note in found.notes)
    kinds = {finding.kind: finding.severity for finding in check(scan(list_files(source, data), source))}
    assert kinds["duplicates across splits"] == "error"


def test_a_thousand_copies_are_told_in_a_line_each(tmp_path: Path) -> None:
    for number in range(1000):
        save(Image.new("L", (8, 8), 9), tmp_path / "d" / "ab"[number % 2] / f"{number}.png")
    told = errors(tmp_path / "d")
    assert len(told) == 1000
    assert max(map(len, told)) < 150
    assert told[0].endswith("same as a/10.png, a/100.png, a/102.png and 996 more")
