"""Decoding is exact: every kind of file becomes the pixels that the rule says."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from benchmark.data.decoding.pixels import BadImage, _orientation, read_file, to_array, to_image
from tests.data.encoders import png, tiff
from tests.factories import picture

WHOLE = {"16-bit": (0.0, 65535.0)}


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
    with pytest.raises(BadImage, match="instead of one image; `frames: first` uses the first"):
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
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "float samples, unlike any file of the dataset"),
        (encoded(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"), "signed 32-bit samples"),
        (encoded(Image.new("1", (9500, 9500))), "more than"),
    ],
    ids=["empty", "text", "truncated jpeg", "truncated png", "float", "32 bits", "enormous"],
)
def test_what_cannot_become_pixels_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        to_image(read_file(content), WHOLE)


def _mistyped(tag: int, kind: int, value: bytes, count: int) -> bytes:
    """Return a turned photograph with one more EXIF entry, of 4 bytes of value."""
    entries = sorted([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (tag, kind, count, value)])
    body = b"".join(struct.pack("<HHL", tag, kind, count) + value for tag, kind, count, value in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries)) + body + struct.pack("<L", 0)
    return encoded(Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)), "PNG", exif=exif)


@pytest.mark.parametrize(
    ("tag", "kind", "value", "count"),
    [
        (0x011A, 2, b"72\0\0", 4),  # a resolution as text
        (0x0111, 2, b"72\0\0", 4),
        (0x8769, 3, b"\1\0\0\0", 1),  # a sub-directory that lies in the header
        (0x8825, 4, b"\xff\xff\xff\xff", 1),
        (0x9003, 5, b"\xff\xff\xff\x7f", 9),  # behind the end
        (0x9286, 99, b"\0\0\0\0", 1),
    ],
)
def test_a_turned_photograph_with_mistyped_exif_is_turned(tag: int, kind: int, value: bytes, count: int) -> None:
    image = read_file(_mistyped(tag, kind, value, count))
    assert (np.asarray(image) == np.rot90(np.arange(12).reshape(3, 4), -1)).all()


@pytest.mark.parametrize("value", [0, 9, 255, "text", b"\xff", (), None])
def test_an_orientation_without_meaning_turns_nothing(value: object) -> None:
    assert _orientation(lambda: cast(Image.Exif, {0x0112: value})) not in range(2, 9)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n{ } loop\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "PostScript"),
        (b"%PDF-1.7", "PDF"),
        (bytes(4) + b"ftypheic" + bytes(20), "HEIF"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_files_of_other_formats_are_named_and_never_run(content: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=f"not an image in a supported format, but a.* {name}") as caught:
        read_file(content)
    assert caught.value.kind == "non-image"


@pytest.mark.parametrize("file_format", ["TGA", "PCX", "SGI", "EPS", "IM", "ICO", "MSP", "SPIDER"])
def test_formats_outside_of_the_list_are_refused(file_format: str) -> None:
    content = encoded(Image.new("1" if file_format == "MSP" else "L", (32, 32), 1), file_format)
    with pytest.raises(BadImage, match="not an image"):
        read_file(content)


def test_settings_that_others_made_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = encoded(picture(3, 200), "JPEG")[:-900]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(BadImage, match="truncated") as caught:
        read_file(cut)
    assert caught.value.kind == "truncated"
    assert read_file(encoded(picture(3, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(BadImage, match="more than"):
        read_file(encoded(Image.new("1", (9500, 9500))))


def _huge_png() -> bytes:
    content = bytearray(png(np.zeros((4, 4), np.uint16), 16))
    struct.pack_into(">II", content, 16, 60000, 60000)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


def _huge_tile() -> bytes:
    tags: dict[int, int] = {322: 4_000_000, 323: 4_000_000, 324: 8, 325: 32}
    return tiff(np.zeros((4, 4), np.uint16), 16, tags=tags)


@pytest.mark.parametrize(
    "make",
    [
        _huge_png,
        _huge_tile,
        lambda: tiff(np.zeros((4, 4), np.uint16), 16, deflated=True, tags={256: 50000, 257: 50000}),
        lambda: b"P5 50000 50000 65535 ",
        lambda: b"GIF89a\xff\xff\xff\xff\0\0\0" + b"," + bytes(4) + b"\xff\xff\xff\xff\0\2\0\0;",
        lambda: encoded(Image.new("L", (4, 4)), "JPEG2000").replace(b"\0\0\0\4" * 2, b"\0\0\xff\xff" * 2),
        lambda: encoded(Image.new("L", (4, 4)), "BMP").replace(
            struct.pack("<II", 4, 4), struct.pack("<II", 60000, 60000)
        ),
    ],
)
def test_claims_of_enormous_sizes_are_refused_before_there_is_memory_for_them(make: Callable[[], bytes]) -> None:
    content = make()
    tracemalloc.start()
    try:
        with pytest.raises(BadImage, match="more than") as caught:
            read_file(content)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "enormous"


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), struct.error("short"), KeyError(7), EOFError()])
def test_no_exception_of_a_decoder_but_a_bad_image_leaves_the_reader(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Image.Image:
        raise error

    content = encoded(picture(1, 20))
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(BadImage) as caught:
        read_file(content)
    assert str(caught.value)
