"""Folders of files with more than 8 bits per sample, from the files to the pixels that a network sees."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.dataset import PreparedDataset
from benchmark.data.load import load_dataset, load_thumbnails, open_splits
from benchmark.data.source import DatasetSource
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import identify_folders
from benchmark.matrix.matrix import Matrix
from tests.data import encoders
from tests.data.test_commands import invoke
from tests.factories import picture, save

Values = np.ndarray[Any, Any]
CLASSES = ("a", "b")


def photograph(seed: int) -> Values:
    """Return a photograph of 12 bits: shape (32, 32), whole numbers from 0 to 4095."""
    luma = np.asarray(picture(seed).convert("L")).astype(np.int64) * 16
    noise = np.random.default_rng(seed).integers(0, 16, luma.shape)
    values: Values = np.clip(luma + noise, 0, 4095)
    return values


def write(root: Path, kind: str, *, splits: tuple[str, ...] = ("",), each: int = 12) -> Path:
    """Write the same photographs as files of a kind."""
    for number, (split, label) in enumerate((split, label) for split in splits for label in CLASSES):
        folder = root / split / label
        folder.mkdir(parents=True)
        for k in range(each):
            values = photograph(1000 * number + k)
            if kind == "8":
                save(Image.fromarray(((values * 255 + 2047) // 4095).astype(np.uint8)), folder / f"{k}.png")
            elif kind == "12 in 16":
                save(Image.fromarray(values.astype(np.uint16)), folder / f"{k}.png")
            elif kind == "12 above 4":
                save(Image.fromarray((values * 16).astype(np.uint16)), folder / f"{k}.png")
            elif kind == "tiff":
                (folder / f"{k}.tif").write_bytes(encoders.tiff(values.astype(np.uint16), 12, order=">"))
            elif kind == "pgm":
                (folder / f"{k}.pgm").write_bytes(encoders.pnm(values, 4095))
            elif kind == "dicom":
                rescaled = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
                content = encoders.dicom(values.astype(np.uint16), stored=12, elements=rescaled)
                (folder / f"{k}.dcm").write_bytes(content)
            elif kind == "negative":
                content = encoders.dicom((4095 - values).astype(np.uint16), stored=12, photometric="MONOCHROME1")
                (folder / f"{k}.dcm").write_bytes(content)
    return root


def load(root: Path, **keys: Any) -> PreparedDataset:
    source = DatasetSource(name=f"folder:{root}", **keys)
    return load_dataset(source, split_seed=0, image_size=24, grey=True)


@pytest.mark.parametrize("kind", ["12 in 16", "tiff", "pgm", "dicom", "negative"])
def test_photographs_of_12_bits_are_shown_as_their_copies_of_8_bits(kind: str, tmp_path: Path) -> None:
    usual, deep = write(tmp_path / "usual", "8"), write(tmp_path / "deep", kind)
    expected = load(usual)
    found = load(deep)
    assert np.ptp(expected.images) > 200
    assert (found.images == expected.images).all()
    assert (found.train.rows == expected.train.rows).all()
    thumbnails = load_thumbnails(DatasetSource(name=f"folder:{deep}"), split_seed=0)
    assert (thumbnails.images == load_thumbnails(DatasetSource(name=f"folder:{usual}"), split_seed=0).images).all()


def test_values_moved_to_the_upper_end_of_16_bits_are_shown_alike_up_to_one_level(tmp_path: Path) -> None:
    expected = load(write(tmp_path / "usual", "8")).images.astype(np.int64)
    found = load(write(tmp_path / "deep", "12 above 4")).images
    assert np.abs(found - expected).max() <= 1


def matrix(root: Path, *keys: str) -> Matrix:
    overrides = [f"datasets=[folder:{root}]", "seeds=[0]", "input_modes=[grey-1ch]", *keys]
    return file.load(file.find("cpu"), overrides)


def test_the_window_is_kept_in_the_matrix_and_decides_ids_and_caches(tmp_path: Path) -> None:
    root = write(tmp_path / "deep", "12 in 16")
    made = {
        key: identify_folders(matrix(root, *([f"datasets.value_range={key}"] if key else [])))
        for key in ("", "container", "{bits: 12}", "[0, 4095]", "{percentile: [1, 99]}")
    }
    windows = {key: dict(each.datasets[0].windows or ())["16-bit"] for key, each in made.items()}
    assert [windows[key] for key in ("", "container", "{bits: 12}", "[0, 4095]")] == [
        (0, 4095),
        (0, 65535),
        (0, 4095),
        (0, 4095),
    ]
    low, high = windows["{percentile: [1, 99]}"]
    assert 0 < low < high < 4095
    assert len({expand(each)[0].id for each in made.values()}) == 5
    kept = tmp_path / "matrix.yaml"
    kept.write_text(file.dump(made["container"]))
    assert identify_folders(file.load(kept), verify=True) == made["container"]
    shown = [load(root, value_range=each.datasets[0].value_range) for each in made.values()]
    assert len({each.fingerprint for each in shown}) == 4, (
        "auto and 12 bits show the same; [0, 4095] clips what is above"
    )
    assert shown[1].images.max() <= 16
    assert "16-bit files: 0 is black, 65535 is white; 16 of 256 grey levels are used" in shown[1].notes


def test_folders_of_8_bits_have_no_window_and_ids_without_one(tmp_path: Path) -> None:
    made = identify_folders(matrix(write(tmp_path / "usual", "8")))
    assert made.datasets[0].windows is None
    assert not {"windows", "value_range", "frames"} & set(made.datasets[0].source.decisive)
    assert "value_range" not in file.dump(made)


def test_another_value_range_in_the_kept_matrix_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "deep", "12 in 16")
    kept = tmp_path / "matrix.yaml"
    kept.write_text(file.dump(identify_folders(matrix(root))))
    changed = file.load(kept, ["datasets.value_range=container"])
    with pytest.raises(UserError, match="`windows` in the matrix do not match `value_range`"):
        identify_folders(changed, verify=True)


def test_the_own_test_split_decides_nothing_and_its_brighter_images_are_clipped_or_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "deep", "12 in 16", splits=("train", "test"))
    brighter = photograph(77)
    brighter[0, 0] = 9000
    save(Image.fromarray(brighter.astype(np.uint16)), root / "test" / "a" / "0.png")
    index = open_splits(DatasetSource(name=f"folder:{root}"), split_seed=0)
    assert index.scanned.reading.windows == {"16-bit": (0, 4095)}
    assert [each.clipped for each in index.scanned.facts if each.clipped] == [1]
    assert "1 of 48 images have values outside of the window, clipped" in load(root).notes
    save(Image.fromarray((brighter * 2).astype(np.uint16)), root / "test" / "a" / "1.png")
    with pytest.raises(UserError, match=r"test/a/1.png: .* are outside of this dataset's window.*bits: 16"):
        load(root)
    assert load(root, value_range=[0, 4095]).test.image_ids[1] == "test/a/1.png"


def test_values_that_can_be_read_in_two_ways_stop_a_run_and_are_an_error_of_check(tmp_path: Path) -> None:
    root = write(tmp_path / "deep", "12 in 16")
    hot = photograph(5)
    hot[3, 3] = 65535
    save(Image.fromarray(hot.astype(np.uint16)), root / "a" / "0.png")
    for refused in (lambda: load(root), lambda: identify_folders(matrix(root))):
        with pytest.raises(UserError, match=r"need 12 bits.*65535 in a/0.png, needs 16.*`value_range: {bits: 12}`"):
            refused()
    assert "value range: folder:" in invoke("check", f"folder:{root}", code=1)
    told = invoke("check", f"folder:{root}", "--set", "datasets.value_range={bits: 12}")
    assert "16-bit files: 0 is black, 4095 is white" in told
    assert "clipped" in told


def test_images_of_fewer_bits_than_the_others_of_their_class_are_named_and_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "deep", "12 in 16")
    for label in CLASSES:
        for k in range(6):
            full = np.asarray(Image.open(root / label / f"{k}.png")).astype(np.uint16) * 16
            save(Image.fromarray(full), root / label / f"{k}.png")
    told = invoke("check", f"folder:{root}")
    assert "16-bit files: 0 is black, 65535 is white" in told
    assert re.search(r"warning +few grey levels +12 +fewer than 64 .* a/10.png, a/11.png, a/6.png", told)
    assert "12 of 24 images keep fewer than 64 grey levels of more values" in load(root).notes
    assert "  16-bit files: 0 is black, 65535 is white" in invoke("prepare", f"folder:{root}")


def test_show_tells_the_window_and_draws_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = []
    for kind in ("8", "12 in 16"):
        told = invoke("show", f"folder:{write(tmp_path / kind, kind)}", "--output", f"{kind}.png", "--mode", "grey-1ch")
        assert ("16-bit files: 0 is black, 4095 is white" in told) == (kind != "8")
        pictures.append((tmp_path / f"{kind}.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_files_of_several_frames_are_refused_or_their_first_is_taken(tmp_path: Path) -> None:
    root = write(tmp_path / "usual", "8")
    frames = [picture(900), picture(901)]
    frames[0].save(root / "a" / "0.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a/0.gif.*`frames: first` uses the first"):
        load(root)
    assert "a/0.gif" in {*load(root, frames="first").train.image_ids, *load(root, frames="first").test.image_ids}
    assert "frames: first" in file.dump(identify_folders(matrix(root, "datasets.frames=first")))


def test_files_of_floating_point_values_are_read_by_the_range_that_is_said(tmp_path: Path) -> None:
    eight, floats = write(tmp_path / "usual", "8"), tmp_path / "float"
    for path in eight.rglob("*.png"):
        values = np.asarray(Image.open(path)) / np.float32(255)
        target = floats / path.relative_to(eight).with_suffix(".tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoders.tiff(values, 32))
    with pytest.raises(UserError, match=r"float files: values from .* have no defined black and white.*\[0, 1\]"):
        load(floats)
    assert (load(floats, value_range=[0, 1]).images == load(eight, value_range="container").images).all()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{bits: 0}", "bits: 0 is not a whole number from 1 to 32"),
        ("[4095, 0]", r"\[4095, 0\] is not a pair of ascending numbers"),
        ("{percentile: [1, 101]}", "from 0 to 100"),
        ("full", "'full' is not auto, container"),
        ("{bits: 12, percentile: [1, 99]}", "is not auto, container"),
    ],
)
def test_a_wrong_value_range_is_one_message_with_what_is_right(value: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^--set datasets.value_range=.*: datasets.0.value_range: .*{problem}"
    ) as error:
        matrix(tmp_path, f"datasets.value_range={value}")
    assert "\n" not in str(error.value)


def test_only_folders_have_a_value_range() -> None:
    with pytest.raises(UserError, match="value_range: only for a folder; beans is in the catalogue"):
        file.load(file.find("cpu"), ["datasets=[{name: beans, value_range: container}]"])
