"""One image file to pixels: the only place where files are decoded.

The rule, in this order: the first frame; EXIF rotation applied; 16-bit grey scaled by 255 / 65535 and rounded (16-bit
colour is read by Pillow, which keeps the high byte); alpha composited on white; CMYK and other spaces converted to RGB
by Pillow; grey as Pillow's ``L`` (ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16); and only then both
sides resized with Pillow's BILINEAR, which widens its filter when it shrinks, so it is antialiased. Colour profiles
are ignored.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

RULE = "bilinear-antialiased-1"
"""Name of the rule above; a change of the rule changes it, and with it every decode cache."""

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is not refused: Pillow's own limit against attacks."""

THUMBNAIL = 24
"""Sides of the grey thumbnails by which near-duplicates are found and floor rows are computed, pixels."""

warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below; and filters belong to no thread

ORIENTATION = 0x0112
"""EXIF tag of the camera's rotation."""


class BadImage(Exception):
    """The file cannot be turned into pixels; the message says why."""


def read_image(content: bytes) -> Image.Image:
    """Return the first frame of a file's bytes, upright and opaque, in mode ``L`` or ``RGB``, at its own size.

    Raises:
        BadImage: empty, not an image, truncated, too large, or of a pixel type without a defined white.
    """
    if not content:
        raise BadImage("the file is empty")
    try:
        image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        image.load()
        turned = image.getexif().get(ORIENTATION, 1) != 1  # exif_transpose would copy the others
        return _opaque(ImageOps.exif_transpose(image) if turned else image, image.format)
    except UnidentifiedImageError:
        raise BadImage("not an image that Pillow knows") from None
    except Image.DecompressionBombError:
        raise BadImage(f"more than {2 * MAX_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadImage(f"cannot be decoded: {error}") from None


def has_colour(image: Image.Image) -> bool:
    """Return whether the red, green and blue of any pixel differ; takes a result of `read_image`."""
    if image.mode == "L":
        return False
    red, green, blue = image.split()
    differences = (ImageChops.difference(red, other) for other in (green, blue))
    return any(difference.getbbox() is not None for difference in differences)


def _opaque(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith("I"):
        return _sixteen_bits(image, file_format)
    if image.mode == "F":
        raise BadImage("floating-point pixels have no defined white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, coloured).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _sixteen_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535 or (image.mode == "I" and file_format not in ("PNG", "PPM")):
        raise BadImage("32-bit integer pixels have no defined white; save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def resized(image: Image.Image, size: int, grey: bool) -> Image.Image:
    """Return an image of `read_image` with both sides of ``size`` pixels, mode ``L`` for grey, else ``RGB``."""
    return image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR)


def thumbnail(image: Image.Image) -> bytes:
    """Return the `THUMBNAIL` x `THUMBNAIL` grey bytes of an image of `read_image`, row by row."""
    return resized(image, THUMBNAIL, grey=True).tobytes()


def to_array(image: Image.Image, size: int, grey: bool) -> NDArray[np.uint8]:
    """Return `resized` as uint8, shape (size, size, 1) for grey or (size, size, 3) for RGB."""
    pixels = np.asarray(resized(image, size, grey), dtype=np.uint8)
    return pixels[:, :, None] if grey else pixels
