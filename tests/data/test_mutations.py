"""Damaged files of every format that is read are read or named: no other exception, no hang, no text, no memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, features

from benchmark.data.decoding.pixels import BadImage, read_file
from tests.data.encoders import dicom, png, pnm, tiff
from tests.factories import picture

SECONDS = 5
"""Longest time for one file."""

MEGABYTES = 1500
"""Most memory of a process that has read many damaged files; sound ones of `MAX_PIXELS` would take more."""


def _saved(file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    known = {"exif": exif} if file_format in ("JPEG", "PNG", "WEBP", "AVIF") else {}
    picture(1, 40).convert(mode).save(file, file_format, **known, **options)
    return file.getvalue()


def _tiff(dtype: str, **options: Any) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(1).integers(0, 255, (40, 40)).astype(dtype)
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def seeds() -> dict[str, bytes]:
    """Return a small sound file of each kind."""
    grey = np.asarray(picture(2, 40).convert("L"))
    deep = grey.astype(np.uint16) * 16
    colours = np.asarray(picture(2, 40)).astype(np.uint16) * 257
    frames = [picture(k, 24) for k in (4, 5)]
    found: dict[str, bytes] = {
        "bmp": _saved("BMP"),
        "bmp palette": _saved("BMP", "P"),
        "gif": _saved("GIF", "P"),
        "gif animation": _saved("GIF", "P", save_all=True, append_images=frames),
        "jpeg": _saved("JPEG", quality=90),
        "jpeg grey progressive": _saved("JPEG", "L", progressive=True),
        "jpeg cmyk": _saved("JPEG", "CMYK"),
        "mpo": _saved("MPO", save_all=True, append_images=frames),
        "jpeg 12 bits": bytes(imagecodecs.jpeg_encode(deep, bitspersample=12, level=95)),
        "jpeg 2000": _saved("JPEG2000"),
        "jpeg 2000 deep": bytes(imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=12)),
        "png": _saved("PNG"),
        "png palette": _saved("PNG", "P"),
        "png 16 bits": png(deep, 16),
        "png 16 bits colours": png(colours, 16),
        "png interlaced": png(grey, 8, interlaced=True),
        "apng": _saved("PNG", save_all=True, append_images=frames),
        "pgm": _saved("PPM", "L"),
        "pgm 12 bits": pnm(deep, 4095),
        "ppm plain": pnm(colours, 65535, plain=True),
        "pbm": _saved("PPM", "1"),
        "pfm": _saved("PPM", "F"),
        "webp": _saved("WEBP"),
        "webp lossless": _saved("WEBP", "RGBA", lossless=True),
        "tiff": tiff(grey, 8, tags={274: 6}),
        "tiff 12 bits": tiff(deep, 12, order=">", deflated=True, rows=8),
        "tiff big": tiff(deep, 16, big=True, planar=True),
        "tiff lzw": _tiff("uint16", compression="lzw", predictor=True, tile=(16, 16)),
        "tiff jpeg": _tiff("uint8", compression="jpeg"),
        "tiff float": _tiff("float32", compression="zstd", predictor=True),
        "tiff jpeg 2000": _tiff("uint16", compression="jpeg2000"),
        "tiff fax": _saved("TIFF", "1", compression="group4"),
        "tiff palette": _saved("TIFF", "P"),
        "tiff stack": tiff(deep, 16, more=[deep, deep]),
        "dicom": dicom(deep, stored=12),
        "dicom signed": dicom(
            deep.astype(np.int16), elements={"RescaleSlope": 2, "RescaleIntercept": -9, "PixelPaddingValue": 0}
        ),
        "dicom implicit": dicom(deep, implicit=True, preamble=False),
        "dicom big-endian": dicom(grey, order=">", photometric="MONOCHROME1"),
        "dicom lossless": dicom(
            deep,
            stored=12,
            compressed=(
                "1.2.840.10008.1.2.4.70",
                bytes(imagecodecs.jpeg_encode(deep, bitspersample=12, lossless=True, predictor=1)),
            ),
        ),
        "dicom jpeg-ls": dicom(deep, compressed=("1.2.840.10008.1.2.4.80", bytes(imagecodecs.jpegls_encode(deep)))),
        "dicom jpeg 2000": dicom(
            deep, compressed=("1.2.840.10008.1.2.4.90", bytes(imagecodecs.jpeg2k_encode(deep, level=0)))
        ),
        "dicom jpeg": dicom(
            grey,
            compressed=("1.2.840.10008.1.2.4.50", bytes(imagecodecs.jpeg_encode(grey, level=90))),
        ),
        "dicom colours": dicom((colours >> 8).astype(np.uint8), frames=2),
    }
    if features.check("avif"):
        found["avif"] = _saved("AVIF")
    return found


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with a few changes of the kinds that disks, networks and attackers make."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, size = int(rng.integers(len(changed))), int(rng.integers(1, 5))
        if rng.random() < 0.5:
            place = min(place, int(rng.integers(256)))  # headers come first
        match rng.integers(6):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place : place + size] = rng.bytes(size)
            case 2:
                changed[place : place + size] = bytes([(0xFF, 0, 0x7F, 0x80)[rng.integers(4)]] * size)
            case 3:
                del changed[place + 1 : place + int(rng.integers(2, 40))]
            case 4:
                changed[place:place] = changed[place : place + int(rng.integers(1, 40))]
            case 5:
                del changed[place + 1 :]
    return bytes(changed)


def read_mutated(number: int, first: int) -> dict[str, Any]:
    """Read so many damaged files, and return what became of them; any exception but BadImage ends it."""
    known = sorted(seeds().items())
    outcomes: Counter[str] = Counter()
    slowest = (0.0, "")
    for k in range(first, first + number):
        name, content = known[k % len(known)]
        damaged = mutate(content, np.random.default_rng(k))
        begun = time.monotonic()
        try:
            read_file(damaged, frames="first" if k % 2 else "refuse")
            outcomes["read"] += 1
        except BadImage as error:
            outcomes[error.kind] += 1
            assert str(error).isprintable(), f"{name}, mutation {k}"
            assert 0 < len(str(error)) <= 300, f"{name}, mutation {k}"
        except BaseException as error:
            raise AssertionError(f"{name}, mutation {k}: {error!r}") from error
        slowest = max(slowest, (time.monotonic() - begun, f"{name}, mutation {k}"))
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"outcomes": dict(outcomes), "slowest": slowest, "megabytes": int(memory.split()[1]) / 1024}


def in_a_process(number: int, first: int) -> dict[str, Any]:
    code = f"import json; from tests.data.test_mutations import *; print(json.dumps(read_mutated({number}, {first})))"
    limit = 60 + number * 0.1
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert sum(found["outcomes"].values()) == number
    assert found["slowest"][0] < SECONDS, found["slowest"]
    assert found["megabytes"] < MEGABYTES
    return found


def test_a_sound_file_of_each_kind_is_read() -> None:
    found = seeds()
    if sys.version_info < (3, 11):
        with pytest.raises(BadImage, match="fax"):
            read_file(found.pop("tiff fax"), frames="first")
    for name, content in found.items():
        assert read_file(content, frames="first"), name


@pytest.mark.slow
def test_some_hundred_damaged_files_are_read_or_named() -> None:
    found = in_a_process(600, 0)
    assert found["outcomes"]["read"] > 50
    assert found["outcomes"]["unreadable"] > 50


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_damaged_files_are_read_or_named(part: int) -> None:
    in_a_process(1000, 1000 * part)


@pytest.mark.parametrize(
    "make", [lambda content, cut: content[:cut], lambda content, cut: content[:cut] + bytes(len(content) - cut)]
)
def test_files_that_end_early_or_end_in_zeros_are_read_or_named(make: Callable[[bytes, int], bytes]) -> None:
    for name, content in seeds().items():
        for cut in {1, 2, 4, 8, 16, 30, 60, 130, 140, len(content) // 3, len(content) - 1}:
            try:
                read_file(make(content, min(cut, len(content) - 1)), frames="first")
            except BadImage as error:
                assert str(error), name
