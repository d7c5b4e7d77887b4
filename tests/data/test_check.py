"""`datasets check` names what is wrong, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.check import KINDS, Finding, check
from benchmark.data.load import check_dataset, list_files, load_thumbnails
from benchmark.data.scan import scan
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from tests.data.conftest import listed, write
from tests.factories import picture, save


def good(root: Path, count: int = 30) -> None:
    for label, name in enumerate(("a", "b")):
        write(root / name, *(f"good{index:02d}.png" for index in range(count)), first=1000 * label, side=64)


def findings(root: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in check(scan(listed(root), DatasetSource(name=f"folder:{root}")))}


def grey(path: Path) -> None:
    with Image.open(path) as image:
        converted = image.convert("L")
    converted.save(path)


def _animated(path: Path, seed: int) -> None:
    frames = [picture(seed + k, 64) for k in range(3)]
    frames[0].save(path.with_suffix(".webp"), save_all=True, append_images=frames[1:], lossless=True)


def _truncated(path: Path, seed: int) -> None:
    picture(seed, 200).save(path.with_suffix(".jpg"))
    content = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(content[: len(content) // 2])


def _unreadable(path: Path, seed: int) -> None:
    picture(seed, 64).save(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


def _sixteen(path: Path, seed: int) -> None:
    Image.fromarray(np.asarray(picture(seed, 64).convert("L")).astype(np.uint16) * 257).save(path)


def _rotated(path: Path, seed: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(seed, 64).save(path.with_suffix(".jpg" if seed // 10 % 2 else ".png"), exif=exif)


def _alpha(path: Path, seed: int) -> None:
    image = picture(seed, 64)
    image.putalpha(200)
    image.save(path)


MAKERS: dict[str, Callable[[Path, int], object]] = {
    "unreadable": _unreadable,
    "truncated": _truncated,
    "zero-byte": lambda path, seed: path.write_bytes(b""),
    "non-image": lambda path, seed: path.write_text(f"not an image, number {seed}"),
    "enormous": lambda path, seed: Image.new("1", (9500 + seed % 100, 9500)).save(path),
    "several": _animated,
    "CMYK": lambda path, seed: picture(seed, 64).convert("CMYK").save(path.with_suffix(".tif")),
    "not 8-bit": _sixteen,
    "palette": lambda path, seed: picture(seed, 64).quantize(64).save(path),
    "RGBA": _alpha,
    "EXIF-rotated": _rotated,
}
MANY = {"zero-byte": 8, "non-image": 7, "enormous": 3, "truncated": 6, "unreadable": 6}


def test_sixty_bad_files_are_all_named_and_nothing_else(tmp_path: Path) -> None:
    good(tmp_path)
    expected: dict[str, set[str]] = {}
    seed = 50_000
    for kind, make in MAKERS.items():
        before = set(tmp_path.rglob("*.*"))
        for index in range(MANY.get(kind, 5)):
            seed += 10
            make(tmp_path / "ab"[index % 2] / f"bad-{kind}-{index}.png", seed)
        expected[kind] = {p.relative_to(tmp_path).as_posix() for p in set(tmp_path.rglob("*.*")) - before}
    assert set(expected) == set(KINDS)
    assert sum(len(names) for names in expected.values()) == 60
    found = findings(tmp_path)
    named = {name for finding in found.values() for name in finding.images}
    assert named == set().union(*expected.values())
    for kind, names in expected.items():
        if kind not in ("unreadable", "truncated"):  # where a decoder stumbles over a broken file is its own affair
            assert set(found[kind].images) == names, kind
    broken = set(found["unreadable"].images) | set(found["truncated"].images)
    assert broken == expected["unreadable"] | expected["truncated"]


def test_a_folder_without_any_readable_image_is_checked_too(tmp_path: Path) -> None:
    for path in write(tmp_path, "a/empty.png", "b/empty.png").rglob("*.png"):
        path.write_bytes(b"")
    assert findings(tmp_path)["zero-byte"].images == ["a/empty.png", "b/empty.png"]


def test_a_clean_folder_has_no_findings(tmp_path: Path) -> None:
    good(tmp_path)
    assert findings(tmp_path) == {}


def test_leakage_conflicting_labels_and_plain_duplicates_are_told_apart(tmp_path: Path) -> None:
    root = tmp_path
    names = [f"{split}/{name}/good{k:02}.png" for split in ("train", "test") for name in ("a", "b") for k in range(30)]
    write(root, *names, side=64)
    shutil.copy(root / "train/a/good00.png", root / "test/a/leak.png")
    shutil.copy(root / "train/a/good01.png", root / "train/b/conflict.png")
    shutil.copy(root / "train/a/good02.png", root / "train/a/twice.png")
    with Image.open(root / "train/a/good03.png") as image:
        image.save(root / "test/a/near.jpg", quality=90)
    with Image.open(root / "train/a/good04.png") as image:
        image.point(lambda value: value * 0.6).save(root / "train/b/darker.png")
    found = findings(root)
    assert found["duplicates across splits"].images == ["test/a/leak.png", "train/a/good00.png"]
    assert found["duplicates across splits"].severity == "error"
    assert found["duplicates with conflicting labels"].images == ["train/a/good01.png", "train/b/conflict.png"]
    assert found["duplicates"].images == ["train/a/good02.png", "train/a/twice.png"]
    assert found["near-duplicates across splits"].images == ["test/a/near.jpg", "train/a/good03.png"]
    assert found["near-duplicates across splits"].severity == "warning"
    assert found["near-duplicates with conflicting labels"].images == ["train/a/good04.png", "train/b/darker.png"]


def test_a_patient_in_two_splits_is_leakage(tmp_path: Path) -> None:
    write(tmp_path, *(f"{index:02}.png" for index in range(60)), side=64)
    rows = [f"{k:02}.png,{'ab'[k % 2]},{'train' if k < 40 else 'test'},patient {k // 3}" for k in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split,group", *rows]))
    (finding,) = findings(tmp_path).values()
    assert (finding.kind, finding.severity) == ("group across splits", "error")
    assert finding.images == ["39.png", "40.png", "41.png"]
    assert finding.details["39.png"] == "of patient 13, in train"


def test_few_images_and_imbalance_are_reported(tmp_path: Path) -> None:
    good(tmp_path)
    for index in range(2, 30):
        (tmp_path / "b" / f"good{index:02d}.png").unlink()
    found = findings(tmp_path)
    assert "b (2)" in found["few images"].meaning
    assert "a has 30" in found["class imbalance"].meaning


def test_grey_in_a_colour_set_colour_in_a_grey_set_and_no_colour_at_all_are_reported(tmp_path: Path) -> None:
    good(tmp_path)
    for index in range(3):
        path = tmp_path / "a" / f"good{index:02d}.png"
        save(picture(index, 64).convert("L").convert("RGB"), path)
    assert findings(tmp_path)["greyscale in a colour set"].images == [f"a/good{k:02d}.png" for k in range(3)]
    for path in tmp_path.rglob("*.png"):
        if path.name != "good29.png":
            grey(path)
    assert findings(tmp_path)["colour in a greyscale set"].images == ["a/good29.png", "b/good29.png"]
    for name in ("a", "b"):
        grey(tmp_path / name / "good29.png")
    assert findings(tmp_path)["no colour"].severity == "note"


def test_an_incomplete_catalogue_dataset_is_an_error(data: Path) -> None:
    beans = DatasetSource(name="beans")
    scanned = scan(list_files(beans, data), beans)
    found = [finding for finding in check(scanned) if finding.kind == "incomplete"]
    assert {finding.severity for finding in found} == {"error"}
    assert len(found) == 3


def test_a_class_of_fewer_than_ten_images_is_an_error_of_a_folder(tmp_path: Path) -> None:
    good(tmp_path)
    for index in range(9, 30):
        (tmp_path / "b" / f"good{index:02d}.png").unlink()
    found = findings(tmp_path)["too few images"]
    assert (found.severity, found.meaning.partition(":")[0]) == ("error", "b (9)")
    with pytest.raises(UserError, match=r"too few images: b \(9\): a class needs 10 for training"):
        load_thumbnails(DatasetSource(name=f"folder:{tmp_path}"), split_seed=0)
    chosen = DatasetSource.model_construct(name=f"folder:{tmp_path}", classes=("a",))
    load_thumbnails(chosen, split_seed=0)


def test_a_class_without_test_images_and_too_few_groups_are_errors_in_the_words_of_run(tmp_path: Path) -> None:
    good(tmp_path / "d" / "train")
    write(tmp_path / "d" / "test" / "a", *(f"{k}.png" for k in range(5)), first=5000)
    (tmp_path / "d" / "test" / "b").mkdir()
    _, found = check_dataset(DatasetSource(name=f"folder:{tmp_path / 'd'}"))
    assert [each.meaning.partition(": ")[2] for each in found if each.severity == "error"] == [
        "the test split of 5 images has no images of b; leave these classes out with classes, or raise limit."
    ]
    write(tmp_path / "e", *(f"{index:02}.png" for index in range(60)))
    rows = [f"{k:02}.png,{'ab'[k % 2]},patient {k % 3}" for k in range(60)]
    (tmp_path / "e" / "labels.csv").write_text("\n".join(["path,label,group", *rows]))
    _, found = check_dataset(DatasetSource(name=f"folder:{tmp_path / 'e'}"))
    errors = [each.meaning for each in found if each.severity == "error"]
    assert any("its 60 images are of 3 groups, and a group (a patient, a clip" in error for error in errors)
