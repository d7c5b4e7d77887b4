"""Decoding is exact: every kind of file becomes the pixels that the rule says."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.data.decoding.pixels import WHOLE, BadImage, read_file, to_array, to_image
from tests.factories import picture


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def pixels_of(content: bytes, grey: bool = False) -> np.ndarray[Any, Any]:
    image = to_image(read_file(content), WHOLE)
    assert image.width == image.height
    return to_array(image, image.width, grey)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_grey_is_the_601_luma_that_pillow_calls_l(colour: tuple[int, int, int]) -> None:
    red, green, blue = colour
    grey = pixels_of(encoded(Image.new("RGB", (2, 2), colour)), grey=True)
    assert grey[0, 0, 0] == (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def test_grey_is_taken_before_resizing() -> None:
    original = picture(1, 61)
    luma_first = original.convert("L").resize((24, 24), Image.Resampling.BILINEAR)
    assert (
        to_array(to_image(read_file(encoded(original)), WHOLE), 24, grey=True)[:, :, 0] == np.asarray(luma_first)
    ).all()


def test_both_sides_are_resized_whatever_the_shape_and_antialiased() -> None:
    stripes = np.zeros((48, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    for grey in (False, True):
        shrunk = to_array(Image.fromarray(stripes), 12, grey)
        assert shrunk.shape == (12, 12, 1 if grey else 3)
        assert shrunk.min() > 110
        assert shrunk.max() < 145


@pytest.mark.parametrize(
    ("image", "grey", "expected"),
    [
        (Image.new("RGBA", (4, 4), (0, 0, 0, 128)), False, 127),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), False, 255),
        (Image.new("LA", (4, 4), (0, 0)), True, 255),
        (Image.new("1", (4, 4), 1), True, 255),
        (Image.new("L", (4, 4), 77), False, 77),
        (Image.fromarray(np.full((4, 4), 200, np.uint16)), True, 1),
    ],
    ids=["half black", "clear red", "grey with alpha", "bilevel", "grey as rgb", "dark 16 bits"],
)
def test_every_mode_becomes_opaque_grey_or_rgb_of_8_bits(image: Image.Image, grey: bool, expected: int) -> None:
    assert (pixels_of(encoded(image), grey) == expected).all()


def test_a_transparent_palette_colour_becomes_white() -> None:
    indexed = Image.new("P", (4, 4), 1)
    indexed.putpalette([10, 20, 30, 200, 0, 0])
    assert (pixels_of(encoded(indexed)) == [200, 0, 0]).all()
    assert (pixels_of(encoded(indexed, transparency=1)) == 255).all()


def test_exif_rotation_is_applied() -> None:
    upright = picture(2, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to show
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    assert (pixels_of(encoded(stored, exif=exif)) == np.asarray(upright)).all()


def test_sixteen_bit_grey_is_scaled_to_eight() -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).round().astype(np.uint16)
    scaled = pixels_of(encoded(Image.fromarray(ramp)), grey=True)[:, :, 0]
    assert (scaled == np.arange(256).reshape(16, 16)).all()
    tiff = pixels_of(encoded(Image.fromarray(ramp), "TIFF"), grey=True)[:, :, 0]
    assert (tiff == scaled).all()


def test_cmyk_is_converted_to_rgb() -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for file_format, apart in (("TIFF", 0), ("JPEG", 1)):  # a JPEG of inks holds them inverted, and says so
        red, green, blue = pixels_of(encoded(ink, file_format))[0, 0].astype(int)
        assert red >= 255 - apart
        assert max(green, blue) <= apart


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_a_file_of_several_images_is_refused_unless_the_first_is_asked_for(file_format: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match="not one image; `frames: first` takes the first"):
        read_file(content)
    first = to_image(read_file(content, frames="first"), WHOLE)
    assert first.getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, I am a text file", "not an image"),
        (encoded(picture(3, 200), "JPEG")[:-900], "cannot be decoded"),
        (encoded(picture(3, 200), "PNG")[:-900], "cannot be decoded"),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "float samples, of which the dataset has no file"),
        (encoded(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"), "signed 32-bit samples"),
        (encoded(Image.new("1", (9500, 9500))), "more than"),
    ],
    ids=["empty", "text", "truncated jpeg", "truncated png", "float", "32 bits", "enormous"],
)
def test_what_cannot_become_pixels_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        to_image(read_file(content), WHOLE)
