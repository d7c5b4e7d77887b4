"""From a dataset's files to decoded images with splits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.dataset import PreparedDataset
from benchmark.data.decoding.cache import decoded_images, is_undamaged
from benchmark.data.load import load_dataset, load_thumbnails, open_splits
from benchmark.data.source import DatasetSource
from benchmark.data.value_range import Reading
from benchmark.errors import UserError
from benchmark.files import build_once
from tests.factories import clips, picture, save


def opened(
    name: str, data: Path | None = None, *, size: int = 24, grey: bool = True, **source: object
) -> PreparedDataset:
    return load_dataset(
        DatasetSource.model_validate({"name": name, **source}), split_seed=0, image_size=size, grey=grey, data_dir=data
    )


@pytest.fixture
def rps(tmp_path: Path) -> Path:
    """Return a data directory with rps: eight clips of five images per class to train on, four of three to test."""
    folder = tmp_path / "data"
    clips(folder / "rps" / "rps", ("paper", "rock", "scissors"), clips_per_class=8, frames=5)
    clips(folder / "rps" / "rps-test-set", ("paper", "rock", "scissors"), clips_per_class=4, frames=3)
    return folder


@pytest.fixture
def pixels(data: Path, cache: Path) -> Path:
    """Return the file that holds beans, decoded."""
    opened("beans", data)
    (file,) = (cache / "images").glob("*.npy")
    return file


def has_its_own_labels(dataset: PreparedDataset) -> bool:
    """Return whether every image of a dataset has the label of the folder that it is in."""
    return all(
        name.split("/")[1] == dataset.classes[label]
        for split in (dataset.train, dataset.validation, dataset.test)
        for name, label in zip(split.image_ids, split.labels, strict=True)
    )


def test_official_splits_are_taken_as_they_are(data: Path) -> None:
    beans = opened("beans", data)
    assert [len(beans.train), len(beans.validation), len(beans.test)] == [18, 6, 9]
    assert all(name.startswith("train/") for name in beans.train.image_ids)
    assert all(name.startswith("test/") for name in beans.test.image_ids)
    assert has_its_own_labels(beans)
    assert not any("drawn" in note for note in beans.notes)


def test_each_row_holds_the_pixels_of_its_image_mapped_from_disk_to_be_read_only(data: Path) -> None:
    for grey in (True, False):
        beans = opened("beans", data, grey=grey)
        assert isinstance(beans.images, np.memmap)
        assert not beans.images.flags.writeable
        assert beans.images.shape == (33, 24, 24, 1 if grey else 3)
        assert beans.images.dtype == np.uint8
        for row, name in zip(beans.test.rows, beans.test.image_ids, strict=True):
            with Image.open(data / "beans" / name) as image:
                expected = image.convert("L" if grey else "RGB").resize((24, 24), Image.Resampling.BILINEAR)
            assert (beans.images[row].squeeze() == np.asarray(expected)).all()


def test_thumbnails_are_the_grey_images_of_24_pixels_and_need_no_decoding(data: Path, cache: Path) -> None:
    source = DatasetSource(name="beans", limit=9)
    found = load_thumbnails(source, split_seed=0, data_dir=data)
    assert not (cache / "images").exists()
    expected = opened("beans", data, limit=9)
    assert (found.images == expected.images).all()
    assert (len(found.train), found.fingerprint) == (9, expected.fingerprint)
    for split in ("train", "validation", "test"):
        assert getattr(found, split).image_ids == getattr(expected, split).image_ids


def test_opening_again_decodes_nothing_and_is_quick(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(data.rglob("*"))
    monkeypatch.setattr("benchmark.data.hashes.SETTLED", 0)
    first = opened("beans", data)
    assert sorted(data.rglob("*")) == before, "nothing is written into the data directory"
    monkeypatch.setattr("benchmark.data.decoding.pool.map_ahead", lambda *_, **__: pytest.fail("an image was read"))
    started = time.perf_counter()
    second = opened("beans", data)
    assert time.perf_counter() - started < 0.2
    assert second.fingerprint == first.fingerprint
    assert (second.images == first.images).all()


def test_the_data_directory_comes_from_the_environment_when_none_is_given(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHMARK_DATA_DIR", str(data))
    assert len(opened("beans").train) == 18


def test_a_folder_that_is_not_a_class_and_a_class_without_images_are_refused(data: Path) -> None:
    for path in (data / "beans").rglob("healthy*.png"):
        path.unlink()
    with pytest.raises(UserError, match="no image of class healthy"):
        opened("beans", data)
    save(picture(0), data / "beans" / "train" / "other" / "a.png")
    with pytest.raises(UserError, match="other"):
        opened("beans", data)


def test_the_fingerprint_changes_with_an_image_and_not_with_the_place(data: Path, tmp_path: Path) -> None:
    first = opened("beans", data)
    save(picture(999), data / "beans" / "test" / "healthy" / "healthy_test.0.png")
    second = opened("beans", data)
    assert opened("beans", data.rename(tmp_path / "moved")).fingerprint == second.fingerprint != first.fingerprint
    assert (second.images != first.images).any(axis=(1, 2, 3)).sum() == 1


def test_a_file_that_changes_while_its_dataset_is_decoded_is_named(data: Path) -> None:
    index = open_splits(DatasetSource(name="beans"), split_seed=0, data_dir=data)
    files = [
        (file.path, facts.sha256) for file, facts in zip(index.scanned.listing.files, index.scanned.facts, strict=True)
    ]
    save(picture(999), files[3][0])
    with pytest.raises(UserError, match=rf"{files[3][0].name}: its content changed after it was indexed"):
        decoded_images("beans", index.content, files, size=24, grey=True, reading=Reading({}))


def test_a_damaged_cache_is_built_again(data: Path, pixels: Path) -> None:
    first, description = np.array(opened("beans", data).images), pixels.with_suffix(".json")
    for path, content in (
        (pixels, pixels.read_bytes()[:-100]),
        (pixels, b""),
        (pixels, b"x" * pixels.stat().st_size),
        (description, b"{"),
        (description, description.read_bytes().replace(b"images-4", b"images-3")),
        (description, None),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        assert not is_undamaged(pixels)
        assert (opened("beans", data).images == first).all()
        assert is_undamaged(pixels)
    content = pixels.read_bytes()
    pixels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not is_undamaged(pixels)


def test_who_waited_for_a_build_takes_what_was_built(tmp_path: Path) -> None:
    target, given = tmp_path / "a.npy", []

    def second() -> None:
        with build_once(target) as temporary:
            given.append(temporary)

    waiting = threading.Thread(target=second)
    with build_once(target) as temporary:
        assert temporary is not None
        waiting.start()
        temporary.write_bytes(b"built once")
    waiting.join()
    assert given == [None]
    assert target.read_bytes() == b"built once"


def test_remains_of_a_killed_build_are_removed(data: Path, pixels: Path) -> None:
    pixels.rename(pixels.with_name(f".{pixels.name}.abc.tmp"))
    pixels.with_name(f".{pixels.stem}.json.abc.tmp").write_bytes(b"{")
    opened("beans", data)
    assert [path.name for path in pixels.parent.iterdir() if path.suffix == ".tmp"] == []


def test_rps_validation_is_drawn_by_clip_and_a_note_says_so(rps: Path) -> None:
    dataset = opened("rps", rps)
    assert [len(dataset.train) + len(dataset.validation), len(dataset.test)] == [120, 36]
    assert np.bincount(dataset.validation.labels).tolist() == [5, 5, 5]
    train = dataset.images[dataset.train.rows].astype(np.int64)
    for row in dataset.validation.rows:
        apart = np.abs(train - dataset.images[row]).mean(axis=(1, 2, 3))
        assert apart.min() > 4, "a near-duplicate is on both sides"
    (note,) = (note for note in dataset.notes if "drawn" in note)
    assert "24 groups" in note


def test_the_clip_in_the_names_of_the_original_archive_is_the_group(tmp_path: Path) -> None:
    for label, name in enumerate(("paper", "rock", "scissors")):
        for index in range(40):
            clip, frame = divmod(index, 5)
            stem = f"{name}{clip // 2 + 1:02d}" + ("-k03" if clip % 2 else "")
            save(picture(1000 * label + index), tmp_path / "rps" / "rps" / name / f"{stem}-{frame:03d}.png")
        for index in range(8):  # two clips of unlike pictures: only the names say so
            clip, frame = divmod(index, 4)
            file = tmp_path / "rps" / "rps-test-set" / name / f"test{name}{clip + 1:02d}-{frame:02d}.png"
            save(picture(5000 + 10 * label + index), file)
    dataset = opened("rps", tmp_path)
    assert len(dataset.test_groups) == len(dataset.test) == 24
    assert set(dataset.test_groups.values()) == {f"test{name}{k:02d}" for name in dataset.classes for k in (1, 2)}
    for name, group in dataset.test_groups.items():
        assert Path(name).name.startswith(f"{group}-")
    clips_of = [{Path(i).name.rsplit("-", 1)[0] for i in s.image_ids} for s in (dataset.train, dataset.validation)]
    assert not clips_of[0] & clips_of[1]
    assert len(dataset.validation) == 15


def test_test_images_without_clips_in_their_names_are_grouped_by_likeness(rps: Path) -> None:
    dataset = opened("rps", rps)
    assert set(dataset.test_groups) == set(dataset.test.image_ids)
    members: dict[str, list[str]] = {}
    for name, group in dataset.test_groups.items():
        members.setdefault(group, []).append(name)
    assert [len(names) for names in members.values()] == [3] * 12
    assert all(group == names[0] for group, names in members.items())
    numbers = np.random.default_rng(1).permutation(12)  # `clips` deals the frames of rock to file names so
    first = {f"rps-test-set/rock/{number:04d}.png" for number in numbers[:3]}
    assert first in [set(names) for names in members.values()]


def test_groups_of_test_images_are_the_same_for_any_choice_of_classes(rps: Path) -> None:
    dataset = opened("rps", rps, classes=("rock", "paper"))
    assert set(dataset.test_groups) > set(dataset.test.image_ids)
    assert dataset.test_groups == opened("rps", rps).test_groups


def test_limits_are_nested_and_stratified(data: Path) -> None:
    beans = {limit: opened("beans", data, limit=limit) for limit in (6, 9, 18)}
    assert set(beans[6].train.image_ids) < set(beans[9].train.image_ids) < set(beans[18].train.image_ids)
    assert np.bincount(beans[6].train.labels).tolist() == [2, 2, 2]
    assert np.bincount(beans[9].train.labels).tolist() == [3, 3, 3]
    assert beans[6].test.image_ids == beans[18].test.image_ids
    assert beans[6].fingerprint == beans[18].fingerprint


def test_a_choice_of_classes_renumbers_the_labels(data: Path) -> None:
    beans = opened("beans", data, classes=["healthy", "bean_rust"])
    assert beans.classes == ("healthy", "bean_rust")
    assert has_its_own_labels(beans)
    assert len(beans.test) == 6


def test_progress_is_reported_to_the_last_image(data: Path) -> None:
    reported: list[tuple[object, ...]] = []
    source = DatasetSource(name="beans")
    load_dataset(
        source, split_seed=0, image_size=24, grey=True, data_dir=data, progress=lambda *now: reported.append(now)
    )
    assert {("reading", 33, 33), ("decoding", 33, 33)} <= set(reported)


def test_colour_of_a_dataset_without_colour_is_refused() -> None:
    with pytest.raises(UserError, match="no colour"):
        opened("elpv", grey=False)


def test_another_split_seed_draws_another_validation_split(rps: Path) -> None:
    """From the archives in the data directory itself, which is the same dataset as from a folder of their own."""
    drawn = [
        load_dataset(DatasetSource(name="rps"), split_seed=seed, image_size=24, grey=True, data_dir=rps / "rps")
        for seed in range(4)
    ]
    assert len({dataset.validation.image_ids for dataset in drawn}) > 1
    assert {dataset.fingerprint for dataset in drawn} == {opened("rps", rps).fingerprint}
