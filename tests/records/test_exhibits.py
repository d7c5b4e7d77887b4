"""Thumbnails that a run leaves for the report's pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.catalogue import CATALOGUE
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from benchmark.records import exhibits
from benchmark.records.record import DoneRun
from benchmark.records.store import Store
from tests import factories
from tests.training.test_run import measured


def source(name: str) -> DatasetSource:
    return DatasetSource(name=name, limit=None, classes=None)


def test_thumbnails_are_kept_where_the_licence_lets_them_be_shown_and_of_a_folder_only_when_asked() -> None:
    kept = {name for name in CATALOGUE if exhibits.keeps_thumbnails(source(name), "licensed")}
    medmnist = {name for name in kept if "mnist" in name}
    assert kept - medmnist == {"beans", "rps", "pets", "pets-part", "elpv", "hue-control", "shape-control"}
    assert len(medmnist) == 28
    assert not exhibits.keeps_thumbnails(source("folder:photos"), "licensed")
    assert exhibits.keeps_thumbnails(source("folder:photos"), "all")
    assert exhibits.keeps_thumbnails(source("flowers102"), "all")
    assert not exhibits.keeps_thumbnails(source("beans"), "none")


def test_each_dataset_says_why_its_thumbnails_may_be_shown_or_not_and_whom_to_name() -> None:
    for info in CATALOGUE.values():
        assert info.thumbnails.reason
        assert bool(info.thumbnails.credit) == info.thumbnails.allowed
        assert info.thumbnails.allowed == (not info.licence.startswith("not stated"))


def test_a_thumbnail_is_the_part_of_the_test_image_that_the_network_sees_made_smaller(tmp_path: Path) -> None:
    data = factories.dataset(size=128)
    data.images[60:80] = np.linspace(0, 255, 128).astype(np.uint8)[None, None, :, None]
    made = exhibits.thumbnails(factories.training_spec(image_size=128, crop_size=96), data, grey=True, folder=tmp_path)
    assert made.content is not None
    shown = exhibits.unpack(made.content)
    assert list(shown) == list(data.test.image_ids)
    pixels = np.asarray(Image.open(io.BytesIO(shown["image-60.png"])), dtype=float)
    assert pixels.shape == (48, 48)
    pairs = data.images[60, 16, 16:112, 0].reshape(48, 2).mean(axis=1)
    assert np.abs(pixels - pairs).max() < 4


def test_a_colour_image_keeps_its_colours_and_a_small_one_its_size(tmp_path: Path) -> None:
    data = factories.dataset(channels=3)
    data.images[60:80] = (200, 30, 90)
    made = exhibits.thumbnails(factories.training_spec("rgb"), data, grey=False, folder=tmp_path)
    assert made.content is not None
    pixels = np.asarray(Image.open(io.BytesIO(exhibits.unpack(made.content)["image-79.png"])))
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 90)).max() <= 3


def test_of_many_images_the_same_are_kept_in_every_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhibits, "MOST_THUMBNAILS", 7)
    grey, colour = factories.dataset(), factories.dataset(channels=3)
    made = [
        exhibits.thumbnails(factories.training_spec("grey-1ch"), grey, grey=True, folder=tmp_path),
        exhibits.thumbnails(factories.training_spec("rgb"), colour, grey=False, folder=tmp_path),
    ]
    assert made[0].name != made[1].name
    ids = [list(exhibits.unpack(exhibit.content or b"")) for exhibit in made]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 7


def test_runs_of_the_same_images_share_their_files_and_a_run_that_is_not_asked_leaves_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shown = {"exhibits": store.exhibits, "keep_thumbnails": "all"}
    first = measured(factories.training_spec(seed=0), tmp_path, **shown)
    saved = store.save(first.record, first.predictions, first.exhibits)
    assert isinstance(saved, DoneRun)
    assert saved.exhibits is not None
    names = [path.name for path in store.exhibits.iterdir()]
    assert names == [saved.exhibits.thumbnails]
    second = measured(factories.training_spec(seed=1), tmp_path, **shown)
    assert isinstance(second.record, DoneRun)
    assert second.record.exhibits == saved.exhibits
    assert [exhibit.content for exhibit in second.exhibits] == [None]
    other = exhibits.thumbnails(
        factories.training_spec(), replace(factories.dataset(), fingerprint="1" * 64), True, tmp_path
    )
    assert other.name != names[0]
    not_asked = measured(factories.training_spec(), tmp_path)
    assert not_asked.exhibits == ()
    assert isinstance(not_asked.record, DoneRun)
    assert not_asked.record.exhibits is not None
    assert not_asked.record.exhibits.thumbnails is None


def test_a_damaged_exhibit_is_refused_and_made_again_and_a_missing_one_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outcome = measured(factories.training_spec(), tmp_path, exhibits=store.exhibits, keep_thumbnails="all")
    store.save(outcome.record, outcome.predictions, outcome.exhibits)
    (path,) = store.exhibits.iterdir()
    valid = path.read_bytes()
    assert store.exhibit(path.name) == valid
    path.write_bytes(valid[:100] + bytes([valid[100] ^ 1]) + valid[101:])
    with pytest.raises(UserError, match="damaged"):
        store.exhibit(path.name)
    again = exhibits.thumbnails(factories.training_spec(), factories.dataset(), True, store.exhibits)
    assert again.content == valid
    path.unlink()
    assert store.exhibit(path.name) is None
