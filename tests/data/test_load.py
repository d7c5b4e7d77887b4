"""From a dataset's files to decoded images with splits."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.dataset import PreparedDataset
from benchmark.data.decoding import cache as decoded
from benchmark.data.load import load_dataset
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from benchmark.files import building
from tests.factories import clips, picture, save


def opened(
    name: str, data: Path | None = None, *, size: int = 24, grey: bool = True, **source: object
) -> PreparedDataset:
    return load_dataset(
        DatasetSource.model_validate({"name": name, **source}), split_seed=0, image_size=size, grey=grey, data_dir=data
    )


@pytest.fixture
def rps(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    clips(folder / "rps" / "rps", ("paper", "rock", "scissors"), clips_per_class=8, frames=5)
    clips(folder / "rps" / "rps-test-set", ("paper", "rock", "scissors"), clips_per_class=2, frames=2)
    return folder


def test_official_splits_are_taken_as_they_are(data: Path) -> None:
    beans = opened("beans", data)
    assert [len(beans.train), len(beans.validation), len(beans.test)] == [18, 6, 9]
    assert all(name.startswith("train/") for name in beans.train.image_ids)
    assert all(name.startswith("test/") for name in beans.test.image_ids)
    for split in (beans.train, beans.validation, beans.test):
        for name, label in zip(split.image_ids, split.labels, strict=True):
            assert name.split("/")[1] == beans.classes[label]
    assert not any("drawn" in note for note in beans.notes)


def test_each_row_holds_the_pixels_of_its_image(data: Path) -> None:
    for grey in (True, False):
        beans = opened("beans", data, grey=grey)
        assert beans.images.shape == (33, 24, 24, 1 if grey else 3)
        assert beans.images.dtype == np.uint8
        for row, name in zip(beans.test.rows, beans.test.image_ids, strict=True):
            with Image.open(data / "beans" / name) as image:
                expected = image.convert("L" if grey else "RGB").resize((24, 24), Image.Resampling.BILINEAR)
            assert (beans.images[row].squeeze() == np.asarray(expected)).all()


def test_the_images_are_mapped_from_disk_and_cannot_be_written(data: Path) -> None:
    images = opened("beans", data).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_opening_again_decodes_nothing_and_is_quick(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened("beans", data)
    monkeypatch.setattr("benchmark.data.decoding.pool.map_ahead", lambda *_, **__: pytest.fail("an image was read"))
    started = time.perf_counter()
    second = opened("beans", data)
    assert time.perf_counter() - started < 0.2
    assert second.fingerprint == first.fingerprint
    assert (second.images == first.images).all()


def test_nothing_is_written_into_the_data_directory(data: Path) -> None:
    before = sorted(data.rglob("*"))
    opened("beans", data)
    assert sorted(data.rglob("*")) == before


def test_the_data_directory_comes_from_the_environment_when_none_is_given(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHMARK_DATA_DIR", str(data))
    assert len(opened("beans").train) == 18


def test_a_folder_that_is_no_class_is_refused(data: Path) -> None:
    save(picture(0), data / "beans" / "train" / "other" / "a.png")
    with pytest.raises(UserError, match="other"):
        opened("beans", data)


def test_unreadable_images_are_refused_all_at_once(data: Path) -> None:
    bad = [data / "beans" / "train" / "healthy" / f"healthy_train.{k}.png" for k in range(3)]
    bad[0].write_bytes(b"")
    bad[1].write_text("no image")
    bad[2].write_bytes(bad[2].read_bytes()[:-200])
    with pytest.raises(UserError) as caught:
        opened("beans", data)
    assert all(str(path) in str(caught.value) for path in bad)
    assert "3 of 33" in str(caught.value)


def test_a_changed_image_changes_the_fingerprint_and_the_pixels(data: Path) -> None:
    first = opened("beans", data)
    save(picture(999), data / "beans" / "test" / "healthy" / "healthy_test.0.png")
    second = opened("beans", data)
    assert second.fingerprint != first.fingerprint
    assert (second.images != first.images).any(axis=(1, 2, 3)).sum() == 1


def test_a_change_that_keeps_size_and_time_is_caught_when_it_is_decoded(data: Path) -> None:
    opened("beans", data)
    path = data / "beans" / "test" / "healthy" / "healthy_test.0.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UserError, match="changed after it was indexed"):
        opened("beans", data, size=25)


def test_the_same_files_in_another_place_have_the_same_fingerprint(data: Path, tmp_path: Path) -> None:
    first = opened("beans", data).fingerprint
    data.rename(tmp_path / "moved")
    assert opened("beans", tmp_path / "moved").fingerprint == first


def test_a_damaged_cache_is_built_again(data: Path, cache: Path) -> None:
    first = np.array(opened("beans", data).images)
    (file,) = (cache / "images").glob("*.npy")
    description = file.with_suffix(".json")
    for path, content in (
        (file, file.read_bytes()[:-100]),
        (file, b""),
        (file, b"x" * file.stat().st_size),
        (description, b"{"),
        (description, description.read_bytes().replace(b"images-4", b"images-3")),
    ):
        path.write_bytes(content)
        assert not decoded.is_undamaged(file)
        assert (opened("beans", data).images == first).all()
        assert decoded.is_undamaged(file)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not decoded.is_undamaged(file)


def test_images_without_their_description_are_built_again(data: Path, cache: Path) -> None:
    first = np.array(opened("beans", data).images)
    (file,) = (cache / "images").glob("*.npy")
    file.with_suffix(".json").unlink()
    assert (opened("beans", data).images == first).all()
    assert decoded.is_undamaged(file)


def test_who_waited_for_a_build_takes_what_was_built(tmp_path: Path) -> None:
    target, given = tmp_path / "a.npy", []

    def second() -> None:
        with building(target) as temporary:
            given.append(temporary)

    waiting = threading.Thread(target=second)
    with building(target) as temporary:
        assert temporary is not None
        waiting.start()
        temporary.write_bytes(b"built once")
    waiting.join()
    assert given == [None]
    assert target.read_bytes() == b"built once"


def test_remains_of_a_killed_build_are_removed(data: Path, cache: Path) -> None:
    opened("beans", data)
    (file,) = (cache / "images").glob("*.npy")
    file.rename(file.with_name(f".{file.name}.abc.tmp"))
    file.with_name(f".{file.stem}.json.abc.tmp").write_bytes(b"{")
    opened("beans", data)
    assert [path.name for path in (cache / "images").iterdir() if path.suffix == ".tmp"] == []


def test_rps_validation_is_drawn_by_clip_and_told(rps: Path) -> None:
    dataset = opened("rps", rps)
    assert [len(dataset.train) + len(dataset.validation), len(dataset.test)] == [120, 12]
    assert np.bincount(dataset.validation.labels).tolist() == [5, 5, 5]
    train = dataset.images[dataset.train.rows].astype(np.int64)
    for row in dataset.validation.rows:
        apart = np.abs(train - dataset.images[row]).mean(axis=(1, 2, 3))
        assert apart.min() > 4, "a near-duplicate stands on both sides"
    (note,) = (note for note in dataset.notes if "drawn" in note)
    assert "15 of 120" in note
    assert "24 groups" in note


def test_the_clip_in_the_names_of_the_original_archive_is_the_group(tmp_path: Path) -> None:
    for label, name in enumerate(("paper", "rock", "scissors")):
        for index in range(40):
            clip, frame = divmod(index, 5)
            stem = f"{name}{clip // 2 + 1:02d}" + ("-k03" if clip % 2 else "")
            save(picture(1000 * label + index), tmp_path / "rps" / "rps" / name / f"{stem}-{frame:03d}.png")
        for index in range(8):  # two clips of unlike pictures: the names alone tell them
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


def test_test_images_without_clips_in_their_names_are_grouped_by_likeness(tmp_path: Path) -> None:
    clips(tmp_path / "rps" / "rps", ("paper", "rock", "scissors"), clips_per_class=8, frames=5)
    clips(tmp_path / "rps" / "rps-test-set", ("paper", "rock", "scissors"), clips_per_class=4, frames=3)
    dataset = opened("rps", tmp_path)
    assert set(dataset.test_groups) == set(dataset.test.image_ids)
    members: dict[str, list[str]] = {}
    for name, group in dataset.test_groups.items():
        members.setdefault(group, []).append(name)
    assert [len(names) for names in members.values()] == [3] * 12
    assert all(group == names[0] for group, names in members.items())
    numbers = np.random.default_rng(1).permutation(12)  # `clips` deals the frames of rock to file names so
    first = {f"rps-test-set/rock/{number:04d}.png" for number in numbers[:3]}
    assert first in [set(names) for names in members.values()]


def test_groups_of_test_images_keep_to_the_classes_that_are_asked_for(tmp_path: Path) -> None:
    clips(tmp_path / "rps" / "rps", ("paper", "rock", "scissors"), clips_per_class=8, frames=5)
    clips(tmp_path / "rps" / "rps-test-set", ("paper", "rock", "scissors"), clips_per_class=4, frames=3)
    dataset = opened("rps", tmp_path, classes=("rock", "paper"))
    assert set(dataset.test_groups) == set(dataset.test.image_ids)
    assert len(set(dataset.test_groups.values())) == 8


def test_images_generated_one_by_one_are_each_their_own_group() -> None:
    for name in ("hue-control", "shape-control"):
        dataset = opened(name, grey=False)
        assert len(set(dataset.test_groups.values())) == len(dataset.test) == 400


def test_the_archives_of_rps_may_lie_in_the_data_directory_itself(rps: Path, tmp_path: Path) -> None:
    assert opened("rps", rps / "rps").fingerprint == opened("rps", rps).fingerprint


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
    for split in (beans.train, beans.validation, beans.test):
        for name, label in zip(split.image_ids, split.labels, strict=True):
            assert name.split("/")[1] == beans.classes[label]
    assert len(beans.test) == 6


def test_progress_is_told_and_ends_at_the_whole(data: Path) -> None:
    told: list[tuple[str, int, int]] = []
    load_dataset(
        DatasetSource(name="beans"),
        split_seed=0,
        image_size=24,
        grey=True,
        data_dir=data,
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert ("reading", 33, 33) in told
    assert ("decoding", 33, 33) in told


def test_colour_of_a_dataset_without_colour_is_refused() -> None:
    with pytest.raises(UserError, match="no colour"):
        opened("elpv", grey=False)


def test_another_split_seed_draws_another_validation_split(rps: Path) -> None:
    drawn = []
    for seed in range(4):
        dataset = load_dataset(DatasetSource(name="rps"), split_seed=seed, image_size=24, grey=True, data_dir=rps)
        drawn.append((dataset.fingerprint, dataset.validation.image_ids))
    assert len(set(drawn)) > 1


def test_a_class_without_images_is_refused(data: Path) -> None:
    for split in ("train", "validation", "test"):
        for path in (data / "beans" / split / "healthy").iterdir():
            path.unlink()
    with pytest.raises(UserError, match="no image of class healthy"):
        opened("beans", data)
