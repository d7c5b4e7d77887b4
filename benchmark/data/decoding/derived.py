"""Three channels made from a grey image: the colours of a map, or three views. `export` copies this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

CLIP_LIMIT = 2.0
MOST_TILES = 8
SMALLEST_TILE = 12
"""Pixels per side. With fewer than 128 pixels OpenCV cannot keep to a clip limit of 2: a bin gets one or more."""


def derive(how: Literal["map", "views"], name: str) -> Callable[[Pixels], Pixels]:
    """Return a function from grey images, uint8, shape (n, h, w, 1), to images with three channels, (n, h, w, 3).

    Args:
        how: ``map`` for the colours of a map, ``views`` for `three_views`.
        name: name of the map.
    """
    if how == "views":
        import cv2

        cv2.setNumThreads(1)  # images are too small for more
        return lambda images: np.stack([three_views(image) for image in images])
    rows = map_rows(name)
    return lambda images: rows[images[..., 0]]


def map_names() -> list[str]:
    """Return the names of Matplotlib's colour maps."""
    from matplotlib import colormaps

    return list(colormaps)


def map_rows(name: str) -> Pixels:
    """Return a map's colours for the 256 values of a grey pixel: round(255 RGB), uint8, shape (256, 3)."""
    from matplotlib import colormaps

    rows: Pixels = np.rint(255 * colormaps[name](np.linspace(0, 1, 256))[:, :3]).astype(np.uint8)
    return rows


def three_views(grey: Pixels) -> Pixels:
    """Return an image's luma, its contrast equalised in tiles, and its gradient: uint8, shape (h, w, 3).

    CLAHE (Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994) is OpenCV's, with
    `CLIP_LIMIT`, on k x k tiles: k = min(`MOST_TILES`, shorter side // `SMALLEST_TILE`), at least 1. The gradient is
    sqrt(S_x^2 + S_y^2) / 4, at most 255, of the sums of the 3 x 3 Sobel kernels: a straight edge from black to white is
    255. At the border the image is mirrored around its last row or column.

    Args:
        grey: uint8, shape (h, w, 1).
    """
    import cv2

    image = np.ascontiguousarray(grey[..., 0])
    tiles = max(1, min(MOST_TILES, min(image.shape) // SMALLEST_TILE))
    equalised = cv2.createCLAHE(CLIP_LIMIT, (tiles, tiles)).apply(image)
    x, y = (cv2.Sobel(image, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    gradient = np.rint(np.minimum(255, np.sqrt(x * x + y * y) / 4)).astype(np.uint8)
    return np.stack([image, equalised, gradient], axis=-1)
