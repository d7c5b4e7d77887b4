"""The generated datasets hold what they promise."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.controls import PER_CLASS, control_folder, encode_png
from benchmark.data.dataset import PreparedDataset
from benchmark.data.load import load_dataset
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from tests.factories import picture


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one cache for this file's tests: they change nothing in it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that caches go to."""
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(shared))
    return shared


def greys(folder: Path) -> list[bytes]:
    return sorted(Image.open(path).convert("L").tobytes() for path in folder.iterdir())


def test_both_hues_hold_byte_for_byte_the_same_grey_images_in_every_split() -> None:
    folder = control_folder("hue-control")
    for split, count in PER_CLASS.items():
        red, blue = greys(folder / split / "red"), greys(folder / split / "blue")
        assert red == blue
        assert len(set(red)) == count
    assert 2 * PER_CLASS["test"] >= 400


def loaded(name: str, size: int, *, grey: bool) -> PreparedDataset:
    return load_dataset(DatasetSource(name=name), split_seed=0, image_size=size, grey=grey)


@pytest.mark.parametrize(
    "size", [32, pytest.param(75, marks=pytest.mark.slow), pytest.param(128, marks=pytest.mark.slow)]
)
def test_whatever_the_size_each_grey_test_image_of_the_hue_control_has_a_twin_of_the_other_class(size: int) -> None:
    hue = loaded("hue-control", size, grey=True)
    red, blue = (
        sorted(hue.images[row].tobytes() for row in hue.test.rows[hue.test.labels == label]) for label in (0, 1)
    )
    assert red == blue


def test_the_mean_colour_alone_separates_the_hues_and_each_image_is_its_own_group() -> None:
    hue = loaded("hue-control", 32, grey=False)
    assert len(set(hue.test_groups.values())) == len(hue.test) == 400
    means = hue.images[hue.test.rows].mean(axis=(1, 2))
    assert ((means[:, 2] > means[:, 0]) == (hue.test.labels == 1)).all()


@pytest.mark.slow
def test_mean_colour_and_luma_say_nothing_of_the_shape() -> None:
    shape = loaded("shape-control", 32, grey=False)
    means = shape.images[shape.train.rows].mean(axis=(1, 2))
    for channel in range(3):
        lying, standing = (means[shape.train.labels == label, channel] for label in (0, 1))
        error = np.sqrt(lying.var() / len(lying) + standing.var() / len(standing))
        assert abs(lying.mean() - standing.mean()) < 3 * error


@pytest.mark.slow
def test_generated_files_are_the_same_bytes_everywhere() -> None:
    assert loaded("hue-control", 8, grey=True).fingerprint[:16] == "46b12ca7967235b1"
    assert loaded("shape-control", 8, grey=True).fingerprint[:16] == "5d645638b87c0f33"


def test_a_png_of_any_size_is_read_back_as_it_was_written() -> None:
    pixels = np.asarray(picture(1, 200))
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert (np.asarray(image) == pixels).all()


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"shape-control-\w+: cannot be written .* BENCHMARK_CACHE_DIR names another"):
        control_folder("shape-control")
