"""Two generated datasets with known answers: PNG files in the cache folder, the same bytes on every machine.

``hue-control``: classes differ only in hue. Every pattern of luma exists once in each class of the same split, tinted
red or blue so that Pillow's ``L`` of both files is the same, byte for byte. In a grey mode a network gives both the
same answer, so its accuracy is exactly one half.

``shape-control``: classes differ only in shape (a horizontal or a vertical bar, brighter than its background); colours,
positions and sizes are drawn alike for both.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.files import build_folder_once
from benchmark.locations import cache_directory
from benchmark.seeding import derive_seed

SIDE = 96
"""Side length of a generated image, pixels."""

PER_CLASS: Mapping[str, int] = {"train": 240, "validation": 60, "test": 200}
"""Number of images per class, by split."""

_VERSION = 2
_Image = tuple[str, str, NDArray[np.uint8]]


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return Pillow's ``L`` of RGB pixels, uint8, shape (…, 3) to (…)."""
    weighted = rgb.astype(np.int64) @ np.array([19595, 38470, 7471])
    result: NDArray[np.uint8] = ((weighted + 32768) >> 16).astype(np.uint8)
    return result


@functools.cache
def _tints(direction: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return, for each luma 0..255, the RGB triple of exactly that luma nearest to luma + direction; shape (256, 3)."""
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    table = np.zeros((256, 3), np.uint8)
    for value in range(256):
        ideal = np.clip(value + np.array(direction), 0, 255)
        near = np.clip(np.rint(ideal).astype(np.int64) + steps, 0, 255).astype(np.uint8)
        exact = near[luma(near) == value]
        if len(exact):
            table[value] = exact[np.argmin(np.abs(exact - ideal).sum(axis=1))]
    return table


# Steps that leave luma unchanged (0.299 R + 0.587 G + 0.114 B = 0), towards red and towards blue.
_RED = (70.1, -29.9, -29.9)
_BLUE = (-11.4, -11.4, 88.6)


def _pattern(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return smooth random luma, uint8, shape (SIDE, SIDE), in 40..160, where both tints exist."""
    coarse = rng.random((8, 8))
    at = np.linspace(0, 7, SIDE)
    low = np.minimum(at.astype(np.int64), 6)
    part = at - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    smooth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    result: NDArray[np.uint8] = (40 + np.rint(110 * smooth) + rng.integers(0, 11, (SIDE, SIDE))).astype(np.uint8)
    return result


def _hue(split: str) -> Iterator[_Image]:
    for index in range(PER_CLASS[split]):
        pattern = _pattern(np.random.default_rng(derive_seed(0, "hue-control", split, index)))
        yield "red", f"{index:03d}", _tints(_RED)[pattern]
        yield "blue", f"{index:03d}", _tints(_BLUE)[pattern]


def _two_colours(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two random RGB triples, the first brighter by at least 80 in luma."""
    while True:
        first, second = rng.integers(0, 256, (2, 3)).astype(np.uint8)
        if int(luma(first)) - int(luma(second)) >= 80:
            return first, second


def _shape(split: str) -> Iterator[_Image]:
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    for index in range(PER_CLASS[split]):
        for name in ("lying", "standing"):
            rng = np.random.default_rng(derive_seed(0, "shape-control", split, name, index))
            figure, ground = _two_colours(rng)
            length = rng.uniform(27, 36)
            x, y = rng.uniform(SIDE / 2 - 9, SIDE / 2 + 8, 2)
            along, sideways = (across - x, down - y) if name == "lying" else (down - y, across - x)
            inside = (np.abs(along) <= length) & (np.abs(sideways) <= length / 3)
            pixels = np.where(inside[:, :, None], figure, ground).astype(np.int64)
            noisy = pixels + rng.integers(-8, 9, (SIDE, SIDE, 1))
            yield name, f"{index:03d}", np.clip(noisy, 0, 255).astype(np.uint8)


_GENERATORS: Mapping[str, Callable[[str], Iterator[_Image]]] = {"hue-control": _hue, "shape-control": _shape}


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """Return an uncompressed RGB PNG of uint8 pixels, shape (height, width, 3).

    No compression library is used: its output, and thus the dataset's fingerprint, would differ between versions.
    """
    height, width, _ = rgb.shape
    raw = b"".join(b"\x00" + row.tobytes() for row in rgb)
    blocks = [raw[start : start + 65535] for start in range(0, len(raw), 65535)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block for block in blocks
    )
    stream = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", stream),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def control_folder(name: str) -> Path:
    """Return the folder of a generated dataset, ``<split>/<class>/<number>.png``, made if it does not exist."""
    target = cache_directory() / "generated" / f"{name}-{_VERSION}"
    with build_folder_once(target) as temporary:
        if temporary is not None:
            for split in PER_CLASS:
                for label, number, pixels in _GENERATORS[name](split):
                    path = temporary / split / label / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encode_png(pixels))
    return target
