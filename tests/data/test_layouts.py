"""Every catalogue dataset is read in its original archive's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from benchmark.data import layouts
from benchmark.data.catalogue import CATALOGUE
from benchmark.data.layouts import _part
from benchmark.data.listing import Listing
from benchmark.data.load import list_files, load_dataset
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from tests.data.conftest import write
from tests.factories import picture, save

PETS_PART = Path(layouts.__file__).with_name(CATALOGUE["pets-part"].layout.part)


def summary(listing: Listing) -> dict[str, tuple[str, str | None]]:
    """Return (class, split) of every image id."""
    return {file.id: (listing.classes[file.label], file.split) for file in listing.files}


def pets(root: Path, numbers: Mapping[str, Sequence[int]] = {}) -> Path:
    """Write one trainval image a class and test images, as the two archives unpack: numbers 1 and 2, if not given."""
    for file, chosen in (("trainval.txt", slice(1)), ("test.txt", slice(1, None))):
        lines = ["# a comment, as list.txt has them"]
        for label, name in enumerate(CATALOGUE["pets"].classes, start=1):
            for number in numbers.get(name, (1, 2))[chosen]:
                save(picture(label), root / "images" / f"{name}_{number}.jpg")
                lines.append(f"{name}_{number} {label} 1 {label}")
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / file).write_text("\n".join(lines) + "\n")
    return root


def test_pets_take_label_and_split_from_the_lists(tmp_path: Path) -> None:
    pets(tmp_path / "oxford-iiit-pet")
    found = summary(list_files(DatasetSource(name="pets"), tmp_path))
    assert len(found) == 74
    assert found["images/Abyssinian_1.jpg"] == ("Abyssinian", "train")
    assert found["images/yorkshire_terrier_2.jpg"] == ("yorkshire_terrier", "test")
    for name, (breed, _) in found.items():
        assert name.startswith(f"images/{breed}_")


def test_a_list_that_contradicts_the_images_is_refused(tmp_path: Path) -> None:
    root = pets(tmp_path / "oxford-iiit-pet")
    (root / "images" / "Bombay_1.jpg").unlink()
    with pytest.raises(UserError, match=r"Bombay_1\.jpg is missing"):
        list_files(DatasetSource(name="pets"), tmp_path)
    table = root / "annotations" / "trainval.txt"
    text = table.read_text()
    for wrong, message in (("Abyssinian_1 2 ", "trainval.txt:2 gives Abyssinian_1 class 2"), ("x ", "2 is not `name")):
        table.write_text(text.replace("Abyssinian_1 1 ", wrong))
        with pytest.raises(UserError, match=message):
            list_files(DatasetSource(name="pets"), tmp_path)
    table.unlink()
    with pytest.raises(UserError, match=r"trainval\.txt cannot be read"):
        list_files(DatasetSource(name="pets"), tmp_path)


def test_flowers_take_label_and_split_from_the_mat_files(tmp_path: Path) -> None:
    root = tmp_path / "flowers-102"
    labels = np.array([*range(1, 103), 1, 2, 3], dtype=np.uint8)
    write(root / "jpg", *(f"image_{number:05d}.jpg" for number in range(1, len(labels) + 1)), side=8)
    scipy.io.savemat(root / "imagelabels.mat", {"labels": labels[None]})
    scipy.io.savemat(
        root / "setid.mat",
        {"trnid": np.arange(1, 103)[None], "valid": np.array([[103]]), "tstid": np.array([[104, 105]])},
    )
    found = summary(list_files(DatasetSource(name="flowers102"), tmp_path))
    assert found["jpg/image_00001.jpg"] == ("pink primrose", "train")
    assert found["jpg/image_00103.jpg"] == ("pink primrose", "validation")
    assert found["jpg/image_00105.jpg"] == ("canterbury bells", "test")
    assert len(found) == 105


@pytest.mark.parametrize("inner", ["hotdog/hotdog", "hotdog"])
def test_hotdog_is_found_with_and_without_a_folder_around_it(tmp_path: Path, inner: str) -> None:
    write(
        tmp_path / inner, *(f"{split}/{name}/1.png" for split in ("train", "test") for name in ("hotdog", "not-hotdog"))
    )
    found = summary(list_files(DatasetSource(name="hotdog"), tmp_path))
    assert found["train/hotdog/1.png"] == ("hotdog", "train")
    assert found["test/not-hotdog/1.png"] == ("not-hotdog", "test")


def test_the_val_folder_of_hymenoptera_is_the_test_split_and_its_stray_gif_is_ignored(tmp_path: Path) -> None:
    root = tmp_path / "hymenoptera" / "hymenoptera_data"
    write(root, *(f"{split}/{name}/1.jpg" for split in ("train", "val") for name in ("ants", "bees")))
    write(root, "train/ants/imageNotFound.gif")
    found = summary(list_files(DatasetSource(name="hymenoptera"), tmp_path))
    assert found == {
        "train/ants/1.jpg": ("ants", "train"),
        "train/bees/1.jpg": ("bees", "train"),
        "val/ants/1.jpg": ("ants", "test"),
        "val/bees/1.jpg": ("bees", "test"),
    }


@pytest.mark.parametrize("name", [n for n, info in CATALOGUE.items() if info.layout.roots])
def test_each_missing_dataset_names_the_folder_the_layout_and_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        list_files(DatasetSource(name=name), tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert CATALOGUE[name].source in message
    assert (f"datasets prepare {name}" if CATALOGUE[name].downloads else ". Put it there, or name") in message


def test_datasets_without_splits_have_their_class_folders_in_the_root_and_use_folds(tmp_path: Path) -> None:
    write(tmp_path / "neu", *(f"{name}/{k}.bmp" for name in CATALOGUE["neu"].classes for k in range(2)))
    listing = list_files(DatasetSource(name="neu"), tmp_path)
    assert summary(listing)["rolled-in-scale/1.bmp"] == ("rolled-in-scale", None)
    assert listing.notes == ("12 images in the train split, the original has 1800",)
    assert listing.uses_folds("split")
    assert DatasetSource(name="neu").uses_folds("split")
    (tmp_path / "neu" / "pitted").rename(tmp_path / "neu" / "pitted_surface")
    with pytest.raises(UserError, match=r"'pitted_surface'.*expected.*'pitted',.*Expected there: .* neu/<class>/"):
        list_files(DatasetSource(name="neu"), tmp_path)


def test_pictures_of_one_magnetic_tile_under_several_exposures_are_one_group_and_masks_are_none(tmp_path: Path) -> None:
    root = tmp_path / "magnetic-tile"
    write(
        root,
        *(f"{name}/Imgs/exp1_num_{10_000 * k}.jpg" for k, name in enumerate(CATALOGUE["magnetic-tile"].classes, 2)),
    )
    write(
        root,
        "MT_Free/exp1_num_100.jpg",
        "MT_Free/exp2_num_130.jpg",
        "MT_Fray/exp3_num_530.jpg",
        "MT_Free/exp1_num_931.jpg",
    )
    write(root, "MT_Free/exp1_num_100.png")
    listing = list_files(DatasetSource(name="magnetic-tile"), tmp_path)
    clips = {file.path.name: file.clip for file in listing.files}
    assert len(clips) == 10
    assert all(file.path.suffix == ".jpg" for file in listing.files)
    assert {clips[f"exp{e}_num_{n}.jpg"] for e, n in ((1, 100), (2, 130), (3, 530))} == {"100"}
    assert clips["exp1_num_931.jpg"] == "931", "more than 400 after 530"
    assert len(set(clips.values())) == 8
    assert listing.uses_folds("split")


def test_the_part_of_pets_is_the_shipped_list_of_small_images_and_pets_stays_complete(tmp_path: Path) -> None:
    lines = (line.split() for line in PETS_PART.read_text().splitlines())
    listed = {breed: [int(numbers[0].split("-")[0]), int(numbers[-1].split("-")[-1])] for breed, *numbers in lines}
    root = pets(tmp_path / "pets", {**listed, "american_bulldog": [2, 5, 1, 4]})
    found = summary(list_files(DatasetSource(name="pets-part"), tmp_path))
    assert len(found) == 74
    assert found["images/american_bulldog_2.jpg"] == ("american_bulldog", "train")
    assert found["images/american_bulldog_5.jpg"] == ("american_bulldog", "test")
    assert not {"images/american_bulldog_1.jpg", "images/american_bulldog_4.jpg"} & set(found)
    assert len(summary(list_files(DatasetSource(name="pets"), tmp_path))) == 76
    save(picture(0, side=161), root / "images" / "Abyssinian_1.jpg")
    with pytest.raises(UserError, match=r"Abyssinian_1\.jpg has 161 x 161 pixels.*may be from the original"):
        list_files(DatasetSource(name="pets-part"), tmp_path)


def test_the_list_of_the_part_of_pets_names_2888_images_of_37_breeds() -> None:
    info = CATALOGUE["pets-part"]
    names = _part(PETS_PART)
    assert len(names) == sum(info.images.values()) == 2888
    assert {name.rsplit("_", 1)[0] for name in names} == set(info.classes)
    assert info.classes == CATALOGUE["pets"].classes
    for words in ("2,888 of 7,349 images", "160 pixels"):
        assert words in info.caution, "reports name it as a subset"


@pytest.mark.slow
def test_elpv_has_2223_images_in_three_drawn_splits_and_five_folds_test_each_once_and_split_no_group() -> None:
    source = DatasetSource(name="elpv")
    elpv = load_dataset(source, split_seed=0, image_size=32, grey=True)
    splits = (elpv.train, elpv.validation, elpv.test)
    assert [len(split) for split in splits] == [1557, 333, 333]
    assert np.bincount(np.concatenate([split.labels for split in splits])).tolist() == [1508, 715]
    rows = np.concatenate([split.rows for split in splits])
    assert sorted(rows.tolist()) == list(range(2223))
    assert elpv.classes == ("functional", "defective")
    assert len(elpv.notes) == 2

    runs = [
        load_dataset(source, split_seed=0, image_size=32, grey=True, evaluation="folds", seed=seed) for seed in range(5)
    ]
    tested = Counter(name for run in runs for name in run.test.image_ids)
    assert len(tested) == 2223
    assert set(tested.values()) == {1}
    groups = runs[0].test_groups
    assert len(groups) == 2223
    assert len(set(groups.values())) < 2223
    for run in runs:
        assert (run.folds, run.fingerprint, run.test_groups) == (5, runs[0].fingerprint, groups)
        sides = [{groups[name] for name in split.image_ids} for split in (run.train, run.validation, run.test)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert len(run.train) + len(run.validation) + len(run.test) == 2223
        assert np.bincount(run.test.labels) / len(run.test) == pytest.approx([1508 / 2223, 715 / 2223], abs=0.01)
