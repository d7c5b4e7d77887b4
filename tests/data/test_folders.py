"""A user's own images: folder:PATH."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.dataset import PreparedDataset
from benchmark.data.load import load_dataset
from benchmark.data.source import DatasetSource
from benchmark.data.splits.draw import draw_folds
from benchmark.data.splits.rules import Evaluation, OnBadImage
from benchmark.errors import UserError
from benchmark.matrix.identify import identify_folders
from benchmark.matrix.matrix import Matrix
from tests.data.conftest import listed, write
from tests.factories import clips, picture, save


def opened(
    path: Path,
    *,
    seed: int = 0,
    grey: bool = True,
    on_bad_image: OnBadImage = "refuse",
    limit: int | None = None,
    evaluation: Evaluation = "split",
) -> PreparedDataset:
    source = DatasetSource.model_construct(name=f"folder:{path}", limit=limit, classes=None)
    return load_dataset(
        source, split_seed=0, image_size=16, grey=grey, evaluation=evaluation, seed=seed, on_bad_image=on_bad_image
    )


def labelled(path: Path) -> Counter[tuple[str, str | None]]:
    listing = listed(path)
    return Counter((listing.classes[file.label], file.split) for file in listing.files)


def test_class_folders_without_splits(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "cat/deeper/2.png", "dog/1.png")
    assert labelled(tmp_path) == {("cat", None): 2, ("dog", None): 1}
    assert listed(tmp_path).uses_folds("split")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [(("Train", "valid", "test"), ("train", "validation", "test")), (("train", "val"), ("train", "test"))],
)
def test_of_two_split_folders_the_second_is_the_test_split(
    folders: tuple[str, ...], splits: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, *(f"{folder}/{c}/1.png" for folder in folders for c in ("a", "b")))
    assert labelled(tmp_path) == {(c, split): 1 for split in splits for c in ("a", "b")}


def test_the_folders_of_the_splits_can_be_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"{folder}/{c}/1.png" for folder in ("site 1", "deep/site 2", "more") for c in ("a", "b")))
    listing = listed(tmp_path, splits={"train": "site 1", "test": "deep/site 2"})
    assert Counter((listing.classes[file.label], file.split, file.id) for file in listing.files) == {
        (c, split, f"{folder}/{c}/1.png"): 1
        for split, folder in (("train", "site 1"), ("test", "deep/site 2"))
        for c in ("a", "b")
    }
    with pytest.raises(UserError, match="splits names site 3, but there is no such folder"):
        listed(tmp_path, splits={"train": "site 1", "test": "site 3"})


@pytest.mark.parametrize("named", ["labels.csv", ""])
def test_a_table_of_paths_and_labels(tmp_path: Path, named: str) -> None:
    write(tmp_path, "1.png", "sub/2.png", "3.png")
    (tmp_path / "labels.csv").write_text("path,label,split\n1.png,cat,train\nsub/2.png,dog,val\n3.png,dog,test\n")
    assert labelled(tmp_path / named) == {("cat", "train"): 1, ("dog", "validation"): 1, ("dog", "test"): 1}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,lable\n1.png,cat\n", r"labels\.csv:1: unknown column 'lable' \(did you mean 'label'\?\); expected"),
        ("file,lables\n1.png,cat\n", r":1: .* 'file' .* mean 'path'\?\); .* 'lables' .* mean 'label'\?\); expected"),
        (
            "File_Name, label,Subset\n1.png,cat,test\n",
            r":1: .* 'File_Name' .*'path'.*; .* ' label' .*'label'.*; .* 'Subset' .*'split'",
        ),
        ("path,label,width\n1.png,cat,3\n", r":1: unknown column 'width'; expected the columns path,label\[,split\]"),
        ("path\n1.png\n", r":1: column label is missing; expected"),
        ("path,label,label\n1.png,cat,cat\n", r":1: 'label' is listed 2 times; expected"),
        ("", r":1: column label is missing; column path is missing; expected"),
        ("path,label\n1.png,cat\n2.png,dog\n", r"labels\.csv:3: .*2\.png does not exist"),
        ("path,label\n1.png,cat\n1.png,dog\n", r"csv:3: 1\.png is listed more than once: also in labels\.csv:2"),
        ("path,label,split\n1.png,cat,trian\n", "split 'trian'"),
        ("path,label\n1.png,\n", r"labels\.csv:2: path or label is empty"),
        ("path,label\n1.png,cat\n", "1 class found"),
    ],
)
def test_a_mistake_in_a_table_is_reported_with_its_line(tmp_path: Path, table: str, message: str) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        listed(tmp_path)


def of_patients(folder: Path, column: str = "group", shift: int = 0) -> Path:
    """Write 60 unlike images with a table that says which 20 patients they are of."""
    write(folder, *(f"{index:02}.png" for index in range(60)))
    rows = [f"{k:02}.png,{'ab'[k // 3 % 2]},patient {(k + shift) // 3}" for k in range(60)]
    (folder / "labels.csv").write_text("\n".join([f"path,label,{column}", *rows]))
    return folder


def test_a_column_group_keeps_its_images_together_and_makes_them_one_unit(tmp_path: Path) -> None:
    of_patients(tmp_path)
    for seed in range(5):
        run = opened(tmp_path, seed=seed)
        sides = [{run.test_groups[name] for name in s.image_ids} for s in (run.train, run.validation, run.test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert set(run.test_groups.values()) == {f"patient {k}" for k in range(20)}
        assert len(run.test_groups) == 60, "of all folds"


def test_a_group_that_is_called_like_another_image_is_not_joined_with_it(tmp_path: Path) -> None:
    of_patients(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("patient 0", "05.png").replace(",patient 1\n", ",\n"))
    groups = opened(tmp_path).test_groups
    assert {name for name, group in groups.items() if group == "05.png"} == {"00.png", "01.png", "02.png"}
    assert groups["05.png"] == "05.png*"
    assert (groups["03.png"], groups["04.png"]) == ("03.png", "04.png")


def test_other_groups_are_another_folder_for_a_matrix_and_none_are_what_they_were(tmp_path: Path) -> None:
    contents = []
    for shift, column in ((0, "group"), (1, "group"), (0, None)):
        folder = of_patients(tmp_path / f"{shift}{column}" / "cells", shift=shift)
        if column is None:
            table = folder / "labels.csv"
            table.write_text("\n".join(line.rpartition(",")[0] for line in table.read_text().splitlines()))
        made = Matrix.model_validate(
            {"name": "m", "models": ["timm/test_resnet"], "weights": "none", "datasets": [f"folder:{folder}"]}
            | {"input_modes": ["grey-1ch"], "policies": ["scratch"], "seeds": [0]}
        )
        contents.append(identify_folders(made).datasets[0].content)
        if column is None:
            rows = [
                [f"{k:02}.png", hashlib.sha256((folder / f"{k:02}.png").read_bytes()).hexdigest(), "ab"[k // 3 % 2]]
                for k in range(60)
            ]
            before = hashlib.sha256(json.dumps([[*row, None] for row in rows]).encode()).hexdigest()
            assert contents[-1] == before, "what a folder without groups has always been"
    assert len(set(contents)) == 3


def test_the_right_name_is_suggested_for_a_column_of_patients(tmp_path: Path) -> None:
    of_patients(tmp_path, column="Patient_ID")
    with pytest.raises(UserError, match=r"unknown column 'Patient_ID' \(did you mean 'group'\?\)"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no such folder"),
        (["only/1.png"], "1 class found"),
        (["train/a/1.png", "train/b/1.png", "test/a/2.png"], "test has no folder for class b"),
        (["test/a/1.png", "test/b/1.png"], "one must be train"),
    ],
)
def test_a_folder_of_another_layout_is_refused(names: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        listed(write(tmp_path / "mine", *names))


def test_a_small_folder_is_cross_validated_the_seed_chooses_the_fold_near_duplicates_stay_together(
    tmp_path: Path,
) -> None:
    clips(tmp_path, ("a", "b"), clips_per_class=15, frames=3)
    runs = [opened(tmp_path, seed=seed) for seed in range(5)]
    tests = [set(run.test.image_ids) for run in runs]
    assert sum(len(test) for test in tests) == len(set.union(*tests)) == 90
    assert {len(test) for test in tests} == {18}
    assert len({run.fingerprint for run in runs}) == 1, "the folds of one dataset are the same images"
    for run in runs:
        assert not set(run.train.image_ids) & set(run.validation.image_ids)
        assert len(run.train) + len(run.validation) + len(run.test) == 90
        assert any("cross-validation" in note for note in run.notes)
    assert opened(tmp_path, seed=5).test.image_ids == runs[0].test.image_ids
    run = runs[2]
    others = run.images[np.concatenate([run.train.rows, run.validation.rows])].astype(np.int64)
    for row in run.test.rows:
        assert np.abs(others - run.images[row]).mean(axis=(1, 2, 3)).min() > 4


def test_folds_spread_every_class_evenly() -> None:
    labels = np.array([0] * 50 + [1] * 20 + [2] * 10, dtype=np.int64)
    found = draw_folds(labels, np.arange(80), 5, seed=0)
    for label, share in enumerate((10, 4, 2)):
        assert np.bincount(found[labels == label], minlength=5).tolist() == [share] * 5


@pytest.mark.parametrize("evaluation", ["split", "folds"])
def test_a_test_split_of_its_own_is_kept_however_small_and_a_note_says_so(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    for first, (split, count) in enumerate((("train", 20), ("test", 3))):
        write(tmp_path / split, *(f"{c}/{k}.png" for c in ("a", "b") for k in range(count)), first=1000 * first, side=8)
    runs = [opened(tmp_path, seed=seed, evaluation=evaluation) for seed in (0, 1)]
    assert {run.test.image_ids for run in runs} == {tuple(f"test/{c}/{k}.png" for c in "ab" for k in range(3))}
    assert [len(runs[0].train), len(runs[0].validation)] == [34, 6]
    assert runs[0].folds is None
    assert "test split: the given one of 6 images is kept" in runs[0].notes
    assert not any("cross-validation" in note for note in runs[0].notes)


def test_a_limit_keeps_validation_images_in_proportion_patient_by_patient_and_all_test_images(tmp_path: Path) -> None:
    rows = [
        f"{k:03}.png,{'ab'[k // 4 % 2]},{'test' if k < 8 else 'train'},{'' if k < 8 else k // 4}" for k in range(328)
    ]
    write(tmp_path, *(f"{k:03}.png" for k in range(328)), side=8)
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split,group", *rows]))
    all_of_them, some, few = (opened(tmp_path, limit=limit) for limit in (None, 170, 10))
    sizes = [(len(run.train), len(run.validation), len(run.test)) for run in (all_of_them, some, few)]
    assert sizes == [(272, 48, 8), (170, 30, 8), (10, 20, 8)]
    assert np.bincount(some.validation.labels).tolist() == [15, 15]
    patients = Counter(int(name[:3]) // 4 for name in some.validation.image_ids)
    assert sorted(patients.values()) == [3, 3, 4, 4, 4, 4, 4, 4]
    assert set(few.validation.image_ids) < set(some.validation.image_ids) < set(all_of_them.validation.image_ids)


def test_the_same_folder_elsewhere_has_the_same_fingerprint(tmp_path: Path) -> None:
    clips(tmp_path / "one", ("a", "b"), clips_per_class=10, frames=1)
    first = opened(tmp_path / "one").fingerprint
    (tmp_path / "one").rename(tmp_path / "two")
    assert opened(tmp_path / "two").fingerprint == first


def test_unreadable_images_are_refused_or_dropped_with_their_number(tmp_path: Path) -> None:
    clips(tmp_path, ("a", "b"), clips_per_class=10, frames=1)
    bad = [tmp_path / "a" / "bad.png", tmp_path / "b" / "worse.jpg", tmp_path / "b" / "cut.png"]
    bad[0].write_bytes(b"")
    bad[1].write_text("no image")
    bad[2].write_bytes((tmp_path / "b" / "0000.png").read_bytes()[:-200])
    with pytest.raises(UserError, match="3 of 23 images cannot be used") as caught:
        opened(tmp_path)
    assert all(path.relative_to(tmp_path).as_posix() in str(caught.value) for path in bad)
    run = opened(tmp_path, on_bad_image="drop")
    assert len(run.train) + len(run.validation) + len(run.test) == 20
    assert any("3 of 23 images dropped" in note for note in run.notes)


def test_colour_of_a_grey_folder_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(10):
            save(picture(index + 100 * (name == "b")).convert("L"), tmp_path / name / f"{index}.png")
    assert opened(tmp_path).images.shape[-1] == 1
    with pytest.raises(UserError, match="no colour"):
        opened(tmp_path, grey=False)


def test_a_folder_of_photographs_keeps_its_colours(tmp_path: Path) -> None:
    write(tmp_path, *(f"{c}/{k}.png" for c in ("a", "b") for k in range(10)))
    assert opened(tmp_path, grey=False).images.shape[-1] == 3
