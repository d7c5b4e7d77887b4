"""Three channels made of a grey image: a map's colours, and three views."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from benchmark.data.decoding.derived import Pixels, derive, map_rows, three_views


def texture(side: int = 96, low: int = 0, high: int = 256, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(low, high, (side, side, 1), dtype=np.uint8)


def test_a_map_has_matplotlibs_colours_for_the_256_values() -> None:
    rows = map_rows("viridis")
    assert rows.shape == (256, 3)
    assert [bytes(rows[k].tolist()).hex() for k in (0, 128, 255)] == ["440154", "21918c", "fde725"]
    np.testing.assert_array_equal(map_rows("gray"), np.arange(256)[:, None].repeat(3, 1))
    assert len(np.unique(map_rows("tab10"), axis=0)) == 10, "a map of few colours has as many bands"


def test_every_pixel_gets_the_colour_of_its_grey_value() -> None:
    images = np.stack([texture(seed=k) for k in range(3)])
    shown = derive("map", "jet")(images)
    assert shown.shape == (3, 96, 96, 3)
    np.testing.assert_array_equal(shown[2, 5, 7], map_rows("jet")[images[2, 5, 7, 0]])


def test_the_gradient_is_sobels_magnitude_over_four_and_of_a_straight_edge_white() -> None:
    image = texture()
    wide = image[..., 0].astype(float)
    x, y = (ndimage.sobel(wide, axis=axis, mode="mirror") for axis in (1, 0))
    np.testing.assert_array_equal(three_views(image)[..., 2], np.rint(np.minimum(255, np.hypot(x, y) / 4)))
    for edge in (np.s_[:, 48:], np.s_[48:]):
        halves = np.zeros((96, 96, 1), np.uint8)
        halves[edge] = 255
        gradient = three_views(halves)[..., 2]
        assert gradient.max() == 255
        assert np.count_nonzero(gradient) == 2 * 96, "the two rows or columns beside the edge, and no border"


def test_the_views_are_luma_then_equalised_contrast_then_the_gradient() -> None:
    dim = texture(low=100, high=110)
    views = three_views(dim)
    np.testing.assert_array_equal(views[..., 0], dim[..., 0])
    assert np.ptp(views[..., 0]) == 9
    assert 12 < np.ptp(views[..., 1].astype(int)) < 60, "more contrast, and not all there is"
    flat = three_views(np.full((96, 96, 1), 77, np.uint8))
    assert np.ptp(flat[..., 1]) == 0
    assert not flat[..., 2].any()


def reference(image: Pixels, tiles: int) -> Pixels:
    """Return CLAHE written out, for a side that the tiles divide."""
    size = len(image) // tiles
    limit = max(1, int(2.0 * size * size / 256))
    tables = np.empty((tiles, tiles, 256))
    for row, column in np.ndindex(tiles, tiles):
        tile = image[row * size : (row + 1) * size, column * size : (column + 1) * size]
        counts = np.bincount(tile.ravel(), minlength=256)
        excess = int(np.maximum(counts - limit, 0).sum())
        counts = np.minimum(counts, limit) + excess // 256
        left = excess % 256
        if left:
            counts[:: max(256 // left, 1)][:left] += 1
        tables[row, column] = np.rint(np.cumsum(counts) * np.float32(255 / (size * size))).clip(0, 255)
    place = np.arange(len(image)) / size - 0.5
    first = np.floor(place).astype(int)
    share = place - first
    near, far = first.clip(0, tiles - 1), (first + 1).clip(0, tiles - 1)
    across = [
        (1 - share) * tables[rows[:, None], near, image] + share * tables[rows[:, None], far, image]
        for rows in (near, far)
    ]
    blended: Pixels = np.rint((1 - share[:, None]) * across[0] + share[:, None] * across[1]).astype(np.uint8)
    return blended


@pytest.mark.parametrize(("side", "tiles"), [(28, 2), (96, 8), (224, 8), (64, 5), (20, 1), (8, 1)])
def test_the_contrast_is_equalised_as_the_formula_says_on_tiles_of_twelve_pixels_or_more(side: int, tiles: int) -> None:
    image = texture(side, low=60, high=90)
    found = three_views(image)[..., 1]
    if side % tiles == 0:
        assert np.abs(found.astype(int) - reference(image[..., 0], tiles)).max() <= 1
    assert found.shape == (side, side)


def test_the_views_of_an_image_are_these_bytes_with_every_opencv() -> None:
    """Fails where another version computes others: runs of before would not be those of now."""
    views = three_views(texture())
    digests = [hashlib.sha256(np.ascontiguousarray(views[..., k]).tobytes()).hexdigest()[:16] for k in range(3)]
    assert digests == ["f1e43b66bb6e0de5", "726273c4196e3964", "3aa02e775c5bcd3a"]
