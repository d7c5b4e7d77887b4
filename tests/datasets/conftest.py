"""What the tests of the data layer share: a cache of their own, and small datasets in the archives' layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Maker = Callable[[str, int], Path]


def picture(seed: int, side: int = 32) -> Image.Image:
    """Return a random smooth RGB image: unlike every other seed's, at any size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path) -> Path:
    """Write an image, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that caches go to."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(folder))
    monkeypatch.delenv("BENCHMARK_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with beans in its archives' layout: 18, 6 and 9 images."""
    folder = tmp_path / "data"
    seed = 0
    for split, count in (("train", 6), ("validation", 2), ("test", 3)):
        for name in ("angular_leaf_spot", "bean_rust", "healthy"):
            for index in range(count):
                seed += 1
                save(picture(seed), folder / "beans" / split / name / f"{name}_{split}.{index}.png")
    return folder


def clips(folder: Path, classes: tuple[str, ...], clips_per_class: int, frames: int) -> None:
    """Write clips of near-duplicates: ``<class>/<class>-<number>.png``, numbers shuffled over the clips."""
    for label, name in enumerate(classes):
        numbers = np.random.default_rng(label).permutation(clips_per_class * frames)
        for index, number in enumerate(numbers):
            clip, frame = divmod(index, frames)
            pixels = np.asarray(picture(1000 * label + clip)).astype(np.int64)
            noise = np.random.default_rng([label, clip, frame]).integers(-3, 4, pixels.shape)
            save(Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)), folder / name / f"{number:04d}.png")
