"""The one pass over a dataset's files: made once for a content, wherever it lies."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data import scan as scans
from benchmark.data.check import check
from benchmark.data.decoding import cache as decoding
from benchmark.data.hashes import FileHash, hash_files
from benchmark.data.load import list_files, load_dataset
from benchmark.data.scan import Scan
from benchmark.data.source import DatasetSource
from benchmark.data.splits.distances import find_alike
from benchmark.errors import UserError
from tests.data.conftest import write
from tests.factories import picture, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "d", *(f"{name}/{k}.png" for name in ("a", "b") for k in range(12)), side=64)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are opened and decoded, as long as the test runs."""
    names: list[str] = []
    for module, function in ((scans, "_read"), (decoding, "_decode")):
        plain = getattr(module, function)

        def noted(file: tuple[Path, object], *rest: object, plain: object = plain, **named: object) -> object:
            names.append(file[0].name)
            return plain(file, *rest, **named)  # type: ignore[operator]

        monkeypatch.setattr(module, function, noted)
    return names


def scanned(folder: Path) -> Scan:
    source = DatasetSource(name=f"folder:{folder}")
    return scans.scan(list_files(source), source)


def load(folder: Path, **source: object) -> None:
    made = DatasetSource.model_validate({"name": f"folder:{folder}", **source})
    load_dataset(made, split_seed=0, image_size=8, grey=True)


def test_files_that_were_touched_copied_or_moved_are_not_opened_again(folder: Path, opened: list[str]) -> None:
    load(folder)
    assert len(opened) == 48, "read, then decoded"
    opened.clear()
    for path in folder.rglob("*.png"):
        os.utime(path)
    load(folder)
    load(shutil.copytree(folder, folder.with_name("a copy of it")))
    load(folder.rename(folder.with_name("e")))
    assert opened == []


def test_another_content_under_the_same_name_size_and_time_is_opened(folder: Path, opened: list[str]) -> None:
    bright, dark = (Image.new("L", (9, 9), level) for level in (200, 50))
    path = folder / "a" / "0.bmp"
    save(bright, path)
    before, first = path.stat(), scanned(folder)
    save(dark, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    second = scanned(folder)
    assert second.identity != first.identity
    assert (second.thumbnails != first.thumbnails).any(axis=(1, 2, 3)).sum() == 1


def test_other_decoders_read_the_files_again(folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder)
    opened.clear()
    for module in (scans, decoding):
        monkeypatch.setattr(module, "decoder_versions", lambda: {"pillow": "99"})
    load(folder)
    assert len(opened) == 48


def test_a_file_that_changes_between_its_hash_and_its_decoding_is_named_and_nothing_is_kept(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_then_changed(*arguments: Any) -> list[FileHash]:
        found = hash_files(*arguments)
        save(picture(999, 64), folder / "b" / "3.png")
        return found

    monkeypatch.setattr(scans, "hash_files", and_then_changed)
    with pytest.raises(UserError, match=r"b/3\.png: its content changed while it was read. Run the command again"):
        scanned(folder)
    assert not list((cache / "index").glob("*.scan.parquet"))


def test_a_run_does_not_train_on_a_folder_that_is_another_than_its_matrix_has(folder: Path) -> None:
    content = scanned(folder).identity
    load(folder, content=content)
    save(picture(999, 64), folder / "b" / "3.png")
    with pytest.raises(UserError, match="its images, classes, splits or groups have changed since the matrix was made"):
        load(folder, content=content)


def test_a_file_larger_than_any_image_is_named_and_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a" / "film.png").write_bytes(bytes(50_000))
    monkeypatch.setattr(scans, "MOST_BYTES", 40_000)
    (large,) = [each for each in scanned(folder).facts if each.problem]
    assert large.kinds == ["enormous"]


@pytest.mark.parametrize("suffix", ["webp", "jpg", "avif"])
def test_grey_images_in_lossy_formats_have_no_colour_and_check_says_so(tmp_path: Path, suffix: str) -> None:
    for number in range(24):
        grey = picture(number, 90).convert("L").convert("RGB")
        save(grey, tmp_path / "d" / "ab"[number % 2] / f"{number}.{suffix}")
    found = scanned(tmp_path / "d")
    assert not found.has_colour
    assert "no colour" in [finding.kind for finding in check(found)]
    stamped = picture(0, 90).convert("L").convert("RGB")
    stamped.paste((200, 30, 30), (70, 70, 82, 78))
    save(stamped, tmp_path / "d" / "a" / f"0.{suffix}")
    assert scanned(tmp_path / "d").has_colour, "a small stamp in red"


def test_memory_of_likenesses_is_linear_in_the_images() -> None:
    peaks = []
    for count in (1000, 3000):
        images = np.random.default_rng(0).normal(0, 0.01, (count, 36)).astype(np.float32)
        tracemalloc.start()
        (all_pairs,) = find_alike(images, 1.0, [lambda i, j: np.ones(len(i), bool)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (all_pairs.counts == count - 1).all()
    assert peaks[1] < 1.5 * peaks[0], "the pairs themselves would be nine times as many"


def test_each_image_has_the_number_of_those_like_it_and_the_nearest_of_them() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 9, (700, 6, 6)).repeat(2, axis=2).repeat(2, axis=1).reshape(700, 144).astype(np.float32)
    images += rng.normal(0, 0.1, images.shape).astype(np.float32)
    images[1::3] = images[: len(images[1::3])] + rng.normal(0, 0.1, images[1::3].shape).astype(np.float32)
    labels = rng.integers(0, 2, 700)
    (found,) = find_alike(images, 0.15, [lambda i, j: labels[i] != labels[j]])
    apart = np.sqrt(((images[:, None] - images[None]) ** 2).mean(axis=2))
    apart[(labels[:, None] == labels[None]) | (apart >= 0.15)] = np.inf
    assert (found.counts == np.isfinite(apart).sum(axis=1)).all()
    some = found.counts > 0
    assert 0 < some.sum() < 700
    assert (found.nearest[~some] == -1).all()
    np.testing.assert_allclose(apart[some, found.nearest[some]], apart[some].min(axis=1), atol=1e-9)
