"""One image file to pixels: the only place where files are decoded.

This file imports nothing from the package: `export` copies it, so that an exported network sees the same pixels.

The rule, in this order: a file with several images is refused, unless the first is requested; samples that are not 8
bits become 8 bits through a window, (v - low) * 255 / (high - low), clipped and rounded, and white-is-zero images are
inverted; the rotation that EXIF or TIFF states is applied; alpha is composited on white; CMYK and other colour spaces
are converted to RGB by Pillow; grey is Pillow's ``L`` (ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16); and
only then are both sides resized with Pillow's BILINEAR, which widens its filter when shrinking, so it is antialiased.
Colour profiles, gamma, transfer functions, display windows (DICOM's VOI) and overlays are ignored.

Samples of 1 to 8 unsigned bits are always read with 0 as black and all ones as white (`Image`). Deeper, signed and
floating-point samples keep their values (`Deep`), for which a dataset has a window. The readers: tifffile and
imagecodecs for TIFF and deeper samples; pydicom for DICOM; Pillow for the rest, in a fixed list of formats (no
PostScript, no external program, no format without a signature).
"""

from __future__ import annotations

import io
import itertools
import logging
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

if TYPE_CHECKING:
    from pydicom import Dataset
    from tifffile import TiffFile, TiffPage

RULE = "bilinear-antialiased-2"
"""Name of the rule above; it changes with the rule, and with it every decode cache."""

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that Pillow may open, by its names; JPEG includes MPO. Of TIFF it reads only the header."""

MAX_PIXELS = 89_478_485
"""Maximum number of pixels of an image: Pillow's own limit against decompression bombs."""

THUMBNAIL = 24
"""Side length of the grey thumbnails by which near-duplicates are found and floor rows are computed, pixels."""

MOST_OUTSIDE = 0.001
"""Largest share of an image's values outside of a window that was derived from other images."""

GREY_TOLERANCE = 3
"""Largest difference between the channels of an image that counts as grey, grey levels."""

_COLOUR_SIDE = 64

ORIENTATION = 0x0112
"""EXIF and TIFF tag of the camera's rotation."""

Window = tuple[float, float]
"""The values that become 0 and 255."""

Kind = Literal["zero-byte", "non-image", "truncated", "enormous", "several", "unreadable"]
Frames = Literal["refuse", "first"]
Array = NDArray[Any]

for _library in ("PIL", "pydicom", "tifffile"):  # filters and loggers are global; what matters is refused
    warnings.filterwarnings("ignore", module=rf"{_library}\b")
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class BadImage(Exception):
    """The file cannot be turned into pixels; the message gives the reason in one short line, ``kind`` in one word."""

    def __init__(self, message: str, kind: Kind = "unreadable") -> None:
        line = "".join(letter if letter.isprintable() else "�" for letter in " ".join(message.split()))
        super().__init__(line if len(line) <= 300 else f"{line[:299]}…")
        self.kind = kind


@dataclass(frozen=True, eq=False)
class Deep:
    """One upright image whose samples are not 8 unsigned bits.

    Attributes:
        values: shape (h, w) or (h, w, 3); uint16, uint32, int16, int32, float32 or float64, after DICOM's modality
            LUT; finite.
        container: the type of a sample, however much of it is used: ``16-bit``, ``signed 16-bit``, ``signed 8-bit``,
            ``32-bit``, ``signed 32-bit``, ``float``, or ``dicom``.
        holds: lowest and highest value that the container can hold (DICOM: after the modality LUT), or None for floats.
        stated: the range that the file itself states, if that is narrower than the container: BitsPerSample of a TIFF,
            BitsStored of a DICOM file, maxval of a PGM, the precision of a JPEG, sBIT of a PNG that is not scaled; or
            None.
        inverted: whether the highest value is black (WhiteIsZero, MONOCHROME1).
        alpha: opacity, uint8, shape (h, w), or None if all is opaque.
    """

    values: Array
    container: str
    holds: Window | None
    stated: Window | None = None
    inverted: bool = False
    alpha: NDArray[np.uint8] | None = None


def read_file(content: bytes, *, frames: Frames = "refuse") -> Image.Image | Deep:
    """Return a file's image, upright, at its own size: opaque ``L`` or ``RGB`` for up to 8 bits per sample, else deep.

    Args:
        content: the file's bytes.
        frames: whether a file with several images (an animation, a TIFF stack, a DICOM series) is refused, or its first
            image is read. Thumbnails, masks and pyramid levels that a TIFF marks as such do not count; of an MPO, the
            first image is read.

    Raises:
        BadImage: the file is empty, not an image in a supported format, truncated or too large, or has several images,
            or samples whose meaning it does not state. No other exception leaves this function.
    """
    if not content:
        raise BadImage("the file is empty", "zero-byte")
    try:
        return _reader(content)(content, frames)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"more than {2 * MAX_PIXELS:,} pixels", "enormous") from None
    except ImportError as error:
        raise BadImage(f"needs {error.name}: pip install {error.name}") from None
    except MemoryError:
        raise BadImage("needs more memory than is available", "enormous") from None
    except Exception as error:  # decoders raise anything: struct.error, KeyError, RecursionError
        words = str(error)
        if not words or not isinstance(error, (OSError, ValueError, SyntaxError, RuntimeError)):
            words = f"{type(error).__name__} {words}".strip()
        is_short = isinstance(error, EOFError) or re.search("truncated|less than expected", words)
        raise BadImage(f"cannot be decoded: {words}", "truncated" if is_short else "unreadable") from None


def to_image(decoded: Image.Image | Deep, windows: Mapping[str, Window], *, clip: bool = False) -> Image.Image:
    """Return an image of `read_file` in 8 bits, ``L`` or ``RGB``, opaque.

    Args:
        decoded: an image of 8 bits is returned as it is.
        windows: container -> window; see `Deep`.
        clip: whether values outside of the window are to be clipped (an explicit window, percentiles). Otherwise a
            share above `MOST_OUTSIDE` is an error: the window does not fit the image.

    Raises:
        BadImage: there is no window for its container, or too many values are outside of it.
    """
    if isinstance(decoded, Image.Image):
        return decoded
    values, window = decoded.values, windows.get(decoded.container)
    if window is None:
        raise BadImage(
            f"{decoded.container} samples, unlike any file of the dataset: which value is white is unknown. Convert "
            "it to the type of the dataset's files"
        )
    low, high = window
    outside = count_clipped(decoded, windows)
    if outside > MOST_OUTSIDE * values.size and not clip:
        found = f"{outside / values.size:.1%} of its values are outside of this dataset's window, {low:g} to {high:g}: "
        found += f"they range from {values.min():g} to {values.max():g}. "
        bits = next((bits for bits in (8, 10, 12, 14, 16) if values.max() < 2**bits), None)
        fits = f"`value_range: {{bits: {bits}}}`" if bits and values.min() >= 0 else "`value_range: [low, high]`"
        raise BadImage(f"{found}{fits} includes them")
    if values.dtype.kind in "iu" and float(low).is_integer() and float(high).is_integer():
        first, span = int(low), int(high) - int(low)
        above = np.clip(values.astype(np.int64), first, first + span) - first
        scaled = ((above * 255 + span // 2) // span).astype(np.uint8)
    else:
        part = (np.clip(values.astype(np.float64), low, high) - low) / (high - low)
        scaled = np.floor(part * 255 + 0.5).astype(np.uint8)
    image = Image.fromarray(255 - scaled if decoded.inverted else scaled)
    if decoded.alpha is None:
        return image
    image = image.convert("RGBA")
    image.putalpha(Image.fromarray(decoded.alpha))
    return _on_white(image)


def count_clipped(decoded: Image.Image | Deep, windows: Mapping[str, Window]) -> int:
    """Return the number of values outside of the window, for an image of `read_file`."""
    if isinstance(decoded, Image.Image):
        return 0
    low, high = windows[decoded.container]
    return int(np.count_nonzero((decoded.values < low) | (decoded.values > high)))


def open_image(content: bytes) -> Image.Image:
    """Open a file in one of `FORMATS` with Pillow, without decoding its pixels.

    Raises:
        BadImage: it has another format, or too many pixels.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other code may have set these, which must not affect what is read here
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unknown(content) from None
    _check_size(image.width, image.height)
    return image


def has_colour(image: Image.Image) -> bool:
    """Return whether an image of `to_image` has colour: red, green and blue differ by more than `GREY_TOLERANCE`.

    They are compared at `_COLOUR_SIDE` pixels per side: lossy formats change single grey pixels by a few levels.
    """
    if image.mode == "L":
        return False
    pairs = itertools.combinations(resized(image, _COLOUR_SIDE, grey=False).split(), 2)
    beyond = (ImageChops.difference(*pair).histogram()[GREY_TOLERANCE + 1 :] for pair in pairs)
    return any(map(any, beyond))


def resized(image: Image.Image, size: int, grey: bool) -> Image.Image:
    """Return an image of `to_image` with both sides of ``size`` pixels, mode ``L`` for grey, else ``RGB``."""
    return image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR)


def thumbnail(image: Image.Image) -> bytes:
    """Return the `THUMBNAIL` x `THUMBNAIL` grey bytes of an image of `to_image`, row by row."""
    return resized(image, THUMBNAIL, grey=True).tobytes()


def to_array(image: Image.Image, size: int, grey: bool) -> NDArray[np.uint8]:
    """Return `resized` as uint8, shape (size, size, 1) for grey or (size, size, 3) for RGB."""
    pixels = np.asarray(resized(image, size, grey), dtype=np.uint8)
    return pixels[:, :, None] if grey else pixels


# Choice of a file's reader


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: start, and size
_BARE_DICOM = re.compile(  # the first element of a file without preamble: explicit, implicit, big-endian
    rb"\x02\0\0\0UL\x04\0|\x08\0[\x00-\x70]\0([A-Z]{2}..|[\x02-\x40]\0\0\0)|\0\x08\0[\x00-\x70][A-Z]{2}", re.S
)
_BEGINNINGS = (
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF", "PDF"),
    (rb"8BPS", "Photoshop"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIF (HEIC)"),
    (rb"PK\x03\x04", "ZIP"),
    (rb"\x93NUMPY", "NumPy"),
    (rb"SIMPLE  =", "FITS"),
    (rb"\s*<", "SVG, HTML or XML"),
)
_OWN = ((_PNG[:4], "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"RIFF", "WebP"))
_READ = "AVIF, BMP, DICOM, GIF, JPEG, JPEG 2000, PBM/PGM/PPM/PFM, PNG, TIFF, WebP"


def _reader(content: bytes) -> Callable[[bytes, Frames], Image.Image | Deep]:
    if content[128:132] == b"DICM":
        return _read_dicom
    if content[:4] in _TIFF:
        return _read_tiff
    if content[:8] == _PNG and content[24:25] == b"\x10":
        return _read_deep_png
    if re.match(rb"P[2356f]\s", content):
        return _read_pnm
    if content[:3] == b"\xff\xd8\xff":
        return _read_jpeg
    if content[:4] == _CODESTREAM or content[4:8] == b"jP  ":
        return _read_jpeg2000
    return _read_dicom if _BARE_DICOM.match(content) else _read_plain


def _unknown(content: bytes) -> BadImage:
    for start, name in _OWN:
        if content.startswith(start):
            return BadImage(f"cannot be decoded: it starts like a {name} file, but its header is damaged")
    for pattern, name in _BEGINNINGS:
        if re.match(pattern, content, re.S):
            return BadImage(f"not an image in a supported format, but a {name} file; supported: {_READ}", "non-image")
    return BadImage(f"not an image in a supported format: {_READ}", "non-image")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise BadImage(f"{width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} x {height} pixels, more than {MAX_PIXELS:,}", "enormous")


def _several(what: str) -> BadImage:
    return BadImage(f"contains {what} instead of one image; `frames: first` uses the first", "several")


# 8 bits per sample, by Pillow


def _read_plain(content: bytes, frames: Frames) -> Image.Image | Deep:
    return _opened(open_image(content), frames)


def _opened(image: Image.Image, frames: Frames) -> Image.Image | Deep:
    _check_frames(image, frames)
    image.load()
    return _upright(_opaque(image), _orientation(image.getexif))


def _check_frames(image: Image.Image, frames: Frames) -> None:
    if frames == "refuse" and image.format != "MPO" and getattr(image, "is_animated", False):
        raise _several(f"an animation of {getattr(image, 'n_frames', 2)} frames")


def _orientation(read: Callable[[], Image.Exif]) -> int:
    """Return EXIF's orientation, or 1 (upright) if none can be read."""
    try:
        return int(read().get(ORIENTATION, 1))
    except Exception:  # EXIF data may be damaged in any way; the pixels are not
        return 1


def _opaque(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    if image.mode in ("L", "RGB"):
        return image
    if image.mode[0] in "IF":
        raise BadImage(f"{image.format} file with samples that are not 8 bits (Pillow's {image.mode})")
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


# Deeper samples


def _integers(bits: int, *, signed: bool = False) -> Window:
    """Return the lowest and the highest integer with a number of bits."""
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def _deep(values: Array, bits: int, *, signed: bool = False, stated: Window | None = None) -> Deep:
    """Return integers in the smallest container of 8, 16 or 32 bits that has ``bits``."""
    size = next(size for size in (8, 16, 32) if size >= bits and (signed or size > 8))
    if bits < size and stated is None:
        stated = _integers(bits, signed=signed)
    kind = {(8, True): "i2", (16, True): "i2", (32, True): "i4", (16, False): "u2", (32, False): "u4"}[size, signed]
    return Deep(
        np.ascontiguousarray(values, dtype=kind),
        f"{'signed ' if signed else ''}{size}-bit",
        _integers(size, signed=signed),
        stated,
    )


def _float(values: Array) -> Deep:
    if not np.isfinite(values).all():
        raise BadImage("contains values that are infinite or not numbers")
    return Deep(values.astype(np.float64 if values.itemsize > 4 else np.float32), "float", None)


def _eight_bits(values: Array, bits: int) -> Image.Image:
    """Return unsigned integers of at most 8 bits as an image, all ones as white."""
    most = 2**bits - 1
    return Image.fromarray(((values.astype(np.uint16) * 255 + most // 2) // most).astype(np.uint8))


def _with_alpha(decoded: Deep, alpha: Array) -> Deep:
    """Return an image with an opacity that has the range of the image's container."""
    assert decoded.holds is not None
    most = int(decoded.holds[1])
    small = ((alpha.astype(np.int64) * 255 + most // 2) // most).astype(np.uint8)
    return decoded if small.min() == 255 else replace(decoded, alpha=small)


_TURNS: Mapping[int, tuple[Image.Transpose, Callable[[Array], Array]]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, lambda rows: rows[:, ::-1]),
    3: (Image.Transpose.ROTATE_180, lambda rows: rows[::-1, ::-1]),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, lambda rows: rows[::-1]),
    5: (Image.Transpose.TRANSPOSE, lambda rows: rows.swapaxes(0, 1)),
    6: (Image.Transpose.ROTATE_270, lambda rows: np.rot90(rows, -1)),
    7: (Image.Transpose.TRANSVERSE, lambda rows: rows[::-1, ::-1].swapaxes(0, 1)),
    8: (Image.Transpose.ROTATE_90, lambda rows: np.rot90(rows)),
}


def _upright(decoded: Image.Image | Deep, orientation: int) -> Image.Image | Deep:
    """Return an image rotated by EXIF's orientation.

    Pillow's exif_transpose also writes EXIF again, and fails if any tag has a wrong type.
    """
    if orientation not in _TURNS:
        return decoded
    method, turn = _TURNS[orientation]
    if isinstance(decoded, Image.Image):
        return decoded.transpose(method)
    alpha = None if decoded.alpha is None else np.ascontiguousarray(turn(decoded.alpha))
    return replace(decoded, values=np.ascontiguousarray(turn(decoded.values)), alpha=alpha)


# PNG of 16 bits


def _read_deep_png(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read a 16-bit PNG. Pillow keeps 16 bits only for grey; for colour and alpha, only the high bytes."""
    image = open_image(content)
    _check_frames(image, frames)
    image.load()
    chunks = list(_png_chunks(content))
    values, alpha = np.asarray(image), None
    if image.mode != "I;16":
        values = _deep_colours(image, chunks)
        if values.shape[2] in (2, 4):
            values, alpha = values[:, :, 0] if values.shape[2] == 2 else values[:, :, :3], values[:, :, -1]
    clear = image.info.get("transparency")
    if clear is not None:
        same = values == np.array(clear)
        alpha = np.where(same.all(axis=-1) if same.ndim == 3 else same, 0, 65535)
    significant = next((data for name, data in chunks if name == b"sBIT"), b"")
    decoded = _deep(values, 16, stated=_significant(significant, values))
    return _upright(decoded if alpha is None else _with_alpha(decoded, alpha), _orientation(image.getexif))


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the data of each chunk of a PNG file that Pillow has read."""
    position = 8
    while position + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        yield name, content[position + 8 : position + 8 + length]
        position += 12 + length


def _deep_colours(image: Image.Image, chunks: Sequence[tuple[bytes, bytes]]) -> Array:
    """Return the samples of a 16-bit PNG with several channels, uint16, shape (h, w, samples).

    libpng prints warnings about other data, so it is given only the header and the pixels, packed again.
    """
    import imagecodecs

    header = next(data for name, data in chunks if name == b"IHDR")
    samples = {2: 3, 4: 2, 6: 4}[header[9]]
    if header[12]:
        raise BadImage("an interlaced 16-bit PNG file in colour; save it without interlacing")
    size = image.height * (1 + 2 * samples * image.width)
    pixels = zlib.decompressobj().decompress(b"".join(data for name, data in chunks if name == b"IDAT"), size)
    if len(pixels) < size:
        raise BadImage("truncated: pixels of the PNG file are missing", "truncated")
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 1)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return np.asarray(imagecodecs.png_decode(_PNG + b"".join(packed)))


def _significant(bits_of_channels: bytes, values: Array) -> Window | None:
    """Return the range that a PNG's sBIT states, or None.

    Its number of bits b is that before the writer scaled the samples to 16 bits, as it must: the range is then the
    container's. A writer that did not scale leaves values below 2 ** b that are not all multiples of 2 ** (16 - b)
    (PNG, third edition, 11.3.2.7 and 13.12).
    """
    bits = max(bits_of_channels[: 3 if values.ndim == 3 else 1], default=16)
    if 8 < bits < 16 and values.max() < 2**bits and (values % 2 ** (16 - bits)).any():
        return _integers(bits)
    return None


# PGM, PPM, PFM


_PNM = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" * 3 + rb"\s")


def _read_pnm(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read a Netpbm file. Pillow rescales values of more than 8 bits, and is slow unless maxval is 255."""
    header = _PNM.match(content)
    if header is None:  # PFM, or damaged
        image = open_image(content)
        if image.mode != "F":
            return _opened(image, frames)
        image.load()
        return _float(np.asarray(image))
    form, (width, height, most) = header[1], (int(header[k]) for k in (2, 3, 4))
    _check_size(width, height)
    if not 0 < most < 65536:
        raise BadImage(f"its maxval is {most} instead of 1 to 65535")
    count, size = width * height * (3 if form in b"36" else 1), 1 if most < 256 else 2
    start, end = header.end(), header.end() + count * size
    if form in b"23":
        words = re.sub(rb"#[^\r\n]*", b"", content[start:]).split(maxsplit=count)[:count]
        values: Array = np.fromiter(map(int, words), np.int64, len(words))
    else:
        if frames == "refuse" and re.match(rb"\s*P[1-7]\s", content[end : end + 100]):
            raise _several("several images")
        values = np.frombuffer(content[start:end], f">u{size}", count=len(content[start:end]) // size)
    if len(values) < count:
        raise BadImage(f"truncated: {len(values)} of {count} samples", "truncated")
    if values.min() < 0 or values.max() > most:
        raise BadImage(f"contains {values.max()}, which is above its maxval, {most}")
    values = values.reshape((height, width, 3) if form in b"36" else (height, width))
    if most < 256:
        return Image.fromarray(np.array([round(k / most * 255) for k in range(most + 1)], np.uint8)[values])
    return _deep(values, 16, stated=None if most == 65535 else (0.0, float(most)))


# JPEG of 12 bits, JPEG 2000


@dataclass(frozen=True)
class _Frame:
    """The frame header of a JPEG codestream, and the EXIF data before it."""

    marker: int
    precision: int
    height: int
    width: int
    components: int
    exif: bytes = b""

    @property
    def is_lossy(self) -> bool:
        """Whether it is sequential or progressive DCT with Huffman codes."""
        return self.marker in (0xC0, 0xC1, 0xC2)

    @property
    def is_deep(self) -> bool:
        """Whether `_decode_jpeg` can read it."""
        return self.is_lossy and self.precision == 12 and self.components == 1


def _jpeg_frame(content: bytes) -> _Frame:
    position, exif = 2, b""
    while position + 10 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, height, width, components = struct.unpack_from(">BHHB", content, position + 4)
            return _Frame(marker, precision, height, width, components, exif)
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == 0xE1 and content[position + 4 : position + 10] == b"Exif\0\0":
            exif = content[position + 4 : position + 2 + length]
        position += 2 + length
    raise BadImage("cannot be decoded: a JPEG file whose header is damaged", "truncated")


def _read_jpeg(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read a JPEG file: with 8 bits by Pillow, with 12 bits only if it is grey.

    Other kinds are only read in DICOM files: imagecodecs' decoders of lossless JPEG and JPEG-LS crash on damaged files,
    or never end.
    """
    frame = _jpeg_frame(content)
    if frame.precision == 8 and frame.marker != 0xF7:
        return _opened(open_image(content), frames)
    if not frame.is_deep:
        raise BadImage(
            f"a JPEG file with {frame.components} components of {frame.precision} bits, or lossless, which is not "
            "supported: save it as PNG or TIFF"
        )

    def read() -> Image.Exif:
        exif = Image.Exif()
        exif.load(frame.exif)
        return exif

    return _upright(_deep(_decode_jpeg(content, frame), 12), _orientation(read) if frame.exif else 1)


def _decode_jpeg(content: bytes, frame: _Frame) -> Array:
    """Return the samples of grey JPEG of 12 bits, uint16, shape (h, w)."""
    import imagecodecs

    _check_size(frame.width, frame.height)
    values = np.asarray(imagecodecs.jpeg_decode(content))
    if values.shape != (frame.height, frame.width):
        raise BadImage("cannot be decoded: its samples do not match its header")
    return values


def _read_jpeg2000(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read a JPEG 2000 file: with 8 unsigned bits by Pillow, with others if it is grey or RGB."""
    import imagecodecs

    start, components = _jpeg2000_components(content)
    depths = {component[0] for component in components}
    if depths <= {7}:
        return _opened(open_image(content), frames)
    if len(components) not in (1, 3) or len(set(components)) != 1 or b"pclr" in content[:start]:
        raise BadImage(
            f"a JPEG 2000 file with {len(components)} components of other than 8 bits, which is not supported"
        )
    colours = re.search(rb"colr\x01..(.{4})", content[:start], re.S)
    if colours and int.from_bytes(colours[1], "big") not in (16, 17):
        raise BadImage(
            "a JPEG 2000 file with other than 8 bits whose colours are not sRGB or grey, which is not supported"
        )
    (depth,) = depths
    bits, signed = (depth & 127) + 1, depth > 127
    if bits > 16:
        raise BadImage(f"a JPEG 2000 file with {bits} bits, which is not supported")
    values = np.asarray(imagecodecs.jpeg2k_decode(content))
    return _deep(values, bits, signed=signed) if bits > 8 or signed else _eight_bits(values, bits)


def _jpeg2000_components(content: bytes) -> tuple[int, list[bytes]]:
    """Return where a codestream starts, and each component's depth and subsampling, 3 bytes (ISO 15444-1, A.5.1)."""
    start = content.find(_CODESTREAM)
    if start < 0 or start + 45 > len(content):
        raise BadImage("cannot be decoded: JPEG 2000 without a codestream", "truncated")
    right, bottom, left, top = struct.unpack_from(">4I", content, start + 8)
    _check_size(right - left, bottom - top)
    number = int.from_bytes(content[start + 40 : start + 42], "big")
    return start, [content[k : k + 3] for k in range(start + 42, start + 42 + 3 * number, 3)]


# TIFF


_SAMPLES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "unsigned"}
"""SampleFormat; 4, undefined, is to be read as unsigned (TIFF 6.0)."""

_TIFF_BITS = {"unsigned": (*range(1, 17), 32), "signed": (8, 16, 32), "floating-point": (16, 32, 64)}
_TIFF_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
"""Samples of PhotometricInterpretation: WhiteIsZero, BlackIsZero, RGB, palette, CMYK, YCbCr (which JPEG makes RGB)."""

_PREDICTED = (5, 8, 32946, 34925, 50000)
"""Compressions with which every reader applies the predictor: LZW, Deflate, LZMA, Zstandard."""

_FAX = (2, 3, 4)
"""Compressions of CCITT: run lengths, and faxes of groups 3 and 4. The last imagecodecs for Python 3.10 lacks them."""

_COMPRESSED = (1, *_FAX, 7, 32773, 34712, *_PREDICTED)
"""Compressions that are read: these, none, CCITT, JPEG, PackBits, JPEG 2000."""


def _read_tiff(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read the one image of a TIFF file.

    tifffile also reads 8 bits: Pillow's libtiff gives the same pixels, but prints warnings, and does not support
    big-endian BigTIFF and some orders of samples.
    """
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(content)) as file:
        page = _page(file, frames)
        _check_size(page.imagewidth, page.imagelength)
        kind, colours = _tiff_samples(page)
        _check_segments(page, content)
        values = np.asarray(page.asarray(maxworkers=1))
    samples, bits, extra = page.samplesperpixel, page.bitspersample, (*map(int, page.extrasamples), -1)[0]
    if page.planarconfig == 2 and samples > 1:
        values = np.moveaxis(values, 0, -1)
    if values.shape != (page.imagelength, page.imagewidth, samples)[: values.ndim]:
        raise BadImage("cannot be decoded: its samples do not match its header")
    alpha = None
    if samples > colours and extra != 0:
        alpha = values[:, :, colours]
        opaque = {"unsigned": 2**bits - 1, "signed": 2 ** (bits - 1) - 1, "floating-point": 1}[kind]
        alpha = None if (alpha == opaque).all() else alpha
    if values.ndim == 3:
        values = values[:, :, 0] if colours == 1 else values[:, :, :colours]
    known = (1, 2) if bits <= 8 else (2,)
    if alpha is not None and (extra not in known or kind != "unsigned" or bits not in (1, 2, 4, 8, 16, 32)):
        raise BadImage(
            f"a TIFF file with a further sample of {bits} bits, ExtraSamples {extra}, which is not supported"
        )
    if kind == "unsigned" and bits <= 8:
        image = _small_tiff(values, page)
        return _upright(image if alpha is None else _tiff_on_white(image, alpha, page), _tiff_orientation(page))
    if 42113 in page.tags and page.nodata != 0 and (values == page.nodata).any():
        raise BadImage(f"a TIFF file with holes: GDAL_NODATA is {page.nodata}. Fill them, or leave the file out")
    decoded = _float(values) if kind == "floating-point" else _deep(values, bits, signed=kind == "signed")
    decoded = replace(decoded, inverted=page.photometric == 0)
    return _upright(decoded if alpha is None else _with_alpha(decoded, alpha), _tiff_orientation(page))


def _page(file: TiffFile, frames: Frames) -> TiffPage:
    """Return the page of a file's only or first image.

    Reduced images and masks (NewSubfileType) belong to another page: thumbnails, levels of a pyramid, transparency.
    """
    from tifffile import TiffPage

    pages = (page for page in file.pages if isinstance(page, TiffPage))
    images = (page for page in pages if not (page.is_reduced or page.is_mask))
    page = next(images, None)
    if page is None:
        alone = file.pages[0]
        if len(file.pages) > 1 or not isinstance(alone, TiffPage) or 330 in alone.tags:
            raise BadImage("a TIFF file with only thumbnails or masks; its image may be in a sub-IFD (camera raw)")
        page = alone
    described = re.search(r"^images=(\d+)", page.description, re.M) if page.description.startswith("ImageJ=") else None
    planes = page.tags.get(33629)  # of a MetaMorph stack
    stacked = (described and int(described[1]) > 1) or (planes is not None and planes.count > 1)
    if page.imagedepth > 1:
        raise BadImage("a TIFF file with a volume instead of an image")
    if frames == "refuse" and (stacked or next(images, None) is not None):
        raise _several("several TIFF pages")
    return page


def _tiff_samples(page: TiffPage) -> tuple[str, int]:
    """Return a word of `_SAMPLES` and the number of colour samples; refuse what readers interpret differently."""
    bits, photometric = page.bitspersample, int(page.photometric)
    kind, colours = _SAMPLES.get(int(page.sampleformat)), _TIFF_COLOURS.get(photometric)
    if kind is None or bits not in _TIFF_BITS[kind]:
        raise BadImage(f"a TIFF file with {bits}-bit {kind or 'complex'} samples, which are not supported")
    if 262 not in page.tags and page.compression not in _FAX:
        raise BadImage(
            "a TIFF file without PhotometricInterpretation: black may be 0 or the highest value. Save it again with a "
            "program that writes this tag"
        )
    if page.compression not in _COMPRESSED:
        raise BadImage(f"a TIFF file with compression {page.compression:d}, which is not supported")
    if page.compression in _FAX and sys.version_info < (3, 11):
        raise BadImage("a TIFF file compressed as a fax (CCITT), which needs Python 3.11 or later")
    is_small, is_jpeg = kind == "unsigned" and bits <= 8, page.compression == 7
    if colours is None or page.samplesperpixel < colours or (photometric > 2 and not is_small):
        raise BadImage(
            f"a TIFF file with {page.samplesperpixel} samples per pixel, {bits} bits each, PhotometricInterpretation "
            f"{photometric}, which is not supported"
        )
    if page.samplesperpixel > min(8, colours + max(1, len(page.extrasamples))):
        raise BadImage(f"a TIFF file with {page.samplesperpixel} samples per pixel, whose meaning it does not state")
    if (photometric == 6 and not is_jpeg) or (photometric == 5 and page.tags.valueof(332, 1) != 1):
        raise BadImage("a TIFF file in YCbCr without JPEG, or with inks other than CMYK, which is not supported")
    if page.fillorder != 1 and not is_small:
        raise BadImage(f"a TIFF file with {bits}-bit samples of FillOrder {page.fillorder}, which is not supported")
    if page.predictor != 1 and page.compression not in _PREDICTED:
        raise BadImage(
            f"a TIFF file with a predictor and compression {page.compression:d}: some programs apply the predictor, "
            "others do not. Save it again without one"
        )
    return kind, colours


def _tiff_orientation(page: TiffPage) -> int:
    value = page.tags.valueof(ORIENTATION)
    return value if isinstance(value, int) else 1


def _small_tiff(values: Array, page: TiffPage) -> Image.Image:
    """Return unsigned samples of at most 8 bits as grey or RGB."""
    if page.photometric == 5:
        return Image.frombytes("CMYK", values.shape[1::-1], values.tobytes()).convert("RGB")
    if page.photometric != 3:
        image = _eight_bits(values, page.bitspersample)
        return ImageChops.invert(image) if page.photometric == 0 else image
    palette = np.asarray(page.colormap)
    if 0 < palette.max() < 256:
        raise BadImage(
            "a TIFF file whose palette is black, or written with 8 bits instead of 16: its highest value is "
            f"{palette.max()} of 65535. Save it again without a palette"
        )
    return Image.fromarray((palette >> 8).astype(np.uint8).T[values])


def _tiff_on_white(image: Image.Image, alpha: Array, page: TiffPage) -> Image.Image:
    """Return an image on white, with an opacity of as many bits, premultiplied if ExtraSamples is 1."""
    opacity = _eight_bits(alpha, page.bitspersample)
    if page.extrasamples[0] == 2:
        image = image.convert("RGBA")
        image.putalpha(opacity)
        return _on_white(image)
    joined = np.dstack([np.asarray(image.convert("RGB")), np.asarray(opacity)])
    return _on_white(Image.frombytes("RGBA", image.size, joined.tobytes(), "raw", "RGBa"))


def _check_segments(page: TiffPage, content: bytes) -> None:
    """Refuse segments that tifffile would misread.

    These are missing strips and tiles, which it fills with zeros; words of 16 bits that are declared as packed;
    lossless JPEG, see `_read_jpeg`; and segments that claim to be larger than any image.
    """
    bits, samples = page.bitspersample, page.samplesperpixel
    width, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    _check_size(width, rows)
    planes = samples if page.planarconfig == 2 else 1
    across, down = -(-page.imagewidth // width), -(-page.imagelength // rows)
    offsets, counts = page.dataoffsets, page.databytecounts
    there = [min(count, len(content) - offset) for offset, count in zip(offsets, counts, strict=False)]
    is_whole = page.compression == 1 or sum(there) == sum(counts)  # counts of a last strip may be those of a full one
    if not len(offsets) == len(counts) == across * down * planes or min(there) < 1 or not is_whole:
        raise BadImage("truncated: strips or tiles of the TIFF file are missing", "truncated")
    for offset, count in zip(offsets, counts, strict=True):
        if page.compression == 34712:
            _jpeg2000_components(content[offset : offset + count])
        elif page.compression == 7:
            frame = _jpeg_frame(content[offset : offset + count])
            _check_size(frame.width, frame.height)
            if not frame.is_lossy:
                raise BadImage("a TIFF file with lossless JPEG, which is not supported")
    if page.compression == 1:

        def needed(size: int, height: int) -> int:
            return -(-width * (samples // planes) * size // 8) * across * height * planes

        full = down * rows
        height = full if page.is_tiled else page.imagelength
        packed, words = needed(bits, height), needed(-(-bits // 8) * 8, height)
        if sum(there) < packed:
            raise BadImage(
                f"truncated: a TIFF file with {sum(there)} bytes of samples instead of {packed}", "truncated"
            )
        if packed < words <= sum(there) != needed(bits, full):
            raise BadImage(
                f"a TIFF file with {bits}-bit samples, {packed} bytes if they are packed and {words} if each has "
                f"its own bytes, but it has {sum(there)}. Save it again with {-(-bits // 8) * 8} bits per sample"
            )


# DICOM


_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")


def _read_dicom(content: bytes, frames: Frames) -> Image.Image | Deep:
    """Read the image of a DICOM file (PS3.3 C.7.6.3): stored values, then the modality LUT, no VOI LUT."""
    try:
        from pydicom import dcmread
    except ImportError:
        raise BadImage(
            "a DICOM file, which needs pydicom: pip install pydicom (in the benchmark: pip install -e '.[dicom]')"
        ) from None
    if _DEFLATED in content[:1024]:
        raise BadImage("a deflated DICOM file, whose size is unknown until it is unpacked: save it with another syntax")
    data = dcmread(io.BytesIO(content), force=True)
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        what = getattr(data.get("SOPClassUID"), "name", "of no stated class")
        raise BadImage(f"a DICOM file without an image ({what})")
    missing = [name for name in _NEEDED if data.get(name) in (None, "")]
    if missing:
        raise BadImage(f"a DICOM file without {' and '.join(missing)}")
    if data.SamplesPerPixel not in (1, 3):
        raise BadImage(f"a DICOM file with {data.SamplesPerPixel} samples per pixel, which is not supported")
    number = int(data.get("NumberOfFrames") or 1)
    if number > 1 and frames == "refuse":
        raise _several(f"{number} DICOM frames")
    _check_size(int(data.Columns), int(data.Rows))
    values, photometric = _stored_values(data, number)
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"):
        raise BadImage(f"a DICOM file with PhotometricInterpretation {photometric}, which is not supported")
    if (values.ndim == 3) != (photometric == "RGB"):
        raise BadImage(f"a DICOM file in {photometric} with {data.SamplesPerPixel} samples per pixel")
    if photometric == "PALETTE COLOR":
        return _dicom_palette(values, data)
    if values.dtype.kind == "f":
        return replace(_float(values), container="dicom", inverted=photometric == "MONOCHROME1")
    return _dicom_integers(values, data, photometric)


def _stored_values(data: Dataset, frames: int) -> tuple[Array, str]:
    """Return the first frame as stored, (h, w) or (h, w, 3), and its photometric interpretation; YBR becomes RGB."""
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

    implicit, little = data.original_encoding
    usual = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
    photometric = str(data.PhotometricInterpretation)
    data.file_meta.TransferSyntaxUID = syntax = UID(data.file_meta.get("TransferSyntaxUID") or usual)
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise BadImage(
            f"a DICOM file compressed as {syntax.name}, which needs pip install pylibjpeg pylibjpeg-libjpeg (in the "
            "benchmark: pip install -e '.[dicom]')"
        )
    if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        codestream = get_frame(data.PixelData, 0, number_of_frames=frames)
        frame = _jpeg_frame(codestream)
        if (frame.height, frame.width) != (data.Rows, data.Columns):
            raise BadImage("a DICOM file whose header and codestream differ in size")
        if frame.is_deep:
            return _decode_jpeg(codestream, frame), photometric
    values, properties = decoder.as_array(data, index=0, correct_unused_bits=False)  # type: ignore[arg-type]
    return values, str(properties["photometric_interpretation"])


def _dicom_palette(values: Array, data: Dataset) -> Image.Image:
    from pydicom.pixels.processing import apply_color_lut

    coloured = apply_color_lut(values, data)[:, :, :3]
    if coloured.dtype != np.uint8:
        return to_image(_deep(coloured, 16), {"16-bit": _integers(16)})
    if values.max() > 255:
        raise BadImage("a DICOM file with a palette of more than 256 colours of 8 bits, which is not supported")
    return Image.fromarray(coloured)


def _dicom_integers(raw: Array, data: Dataset, photometric: str) -> Image.Image | Deep:
    """Return grey or RGB after BitsStored, padding and modality LUT; an image if that leaves 8 unsigned bits."""
    allocated, stored = int(data.BitsAllocated), int(data.BitsStored)
    signed, inverted = bool(data.get("PixelRepresentation", 0)), photometric == "MONOCHROME1"
    values = _used_bits(raw, data)
    padding = _padding(raw, data) | _padding(values, data)
    holds = _integers(allocated, signed=signed)
    stated = _integers(stored, signed=signed) if stored < allocated or (stored <= 8 and not signed) else None
    slope, intercept = (1.0, 0.0) if photometric == "RGB" else _rescale(data)
    if photometric != "RGB" and data.get("ModalityLUTSequence"):
        values, bits = _apply_lut(values, data)
        holds, stated = _integers(16), _integers(bits) if bits < 16 else None
    elif (slope, intercept) == (1, 0) and stored <= 8 and not signed:
        values[padding] = 2**stored - 1 if inverted else 0
        image = _eight_bits(values, stored)
        return Image.fromarray(255 - np.asarray(image)) if inverted else image
    else:
        whole = slope.is_integer() and intercept.is_integer()
        values = values * int(slope) + int(intercept) if whole else values * slope + intercept
        holds = _rescaled(holds, slope, intercept)
        stated = None if stated is None else _rescaled(stated, slope, intercept)
    if padding.any() and not padding.all():
        low, high = stated or (values[~padding].min(), values[~padding].max())
        values[padding] = high if inverted else low
    fitting = (k for k in ("u2", "i2", "u4", "i4") if np.iinfo(k).min <= holds[0] and holds[1] <= np.iinfo(k).max)
    kind = next(fitting, "f8") if values.dtype.kind in "iu" else "f8"
    return Deep(np.ascontiguousarray(values, dtype=kind), "dicom", holds, stated, inverted)


def _apply_lut(values: Array, data: Dataset) -> tuple[Array, int]:
    """Return the values of the modality LUT (PS3.3 C.11.1), and their bits. pydicom supports only 8 and 16 bits."""
    table = data.ModalityLUTSequence[0]
    entries, first, bits = map(int, table.LUTDescriptor)
    found = table.LUTData
    if isinstance(found, bytes):
        found = np.frombuffer(found, "<u2" if data.original_encoding[1] else ">u2")
    if not 8 <= bits <= 16 or len(found) != (entries or 65536) or max(found) >= 2**bits:
        raise BadImage(f"a DICOM file whose modality LUT has {len(found)} entries of {bits} bits, unlike its header")
    return np.asarray(found, np.int32)[np.clip(values - first, 0, len(found) - 1)], bits


def _used_bits(raw: Array, data: Dataset) -> Array:
    """Return the BitsStored bits below HighBit as int32 or int64 numbers (PS3.5 8.1.1).

    Other bits may hold old-style overlays; if the file has none of these, other bits that are set mean that BitsStored
    is wrong.
    """
    allocated, stored, high = int(data.BitsAllocated), int(data.BitsStored), int(data.HighBit)
    if not 0 < stored <= high + 1 <= allocated <= 32:
        raise BadImage(f"a DICOM file with BitsAllocated {allocated}, BitsStored {stored} and HighBit {high}")
    pattern = raw.astype(np.int32 if allocated <= 16 else np.int64) & (2**allocated - 1)
    values: Array = (pattern >> (high + 1 - stored)) & (2**stored - 1)
    beyond = pattern >> (high + 1)
    if data.get("PixelRepresentation", 0):
        negative = values >= 2 ** (stored - 1)
        beyond = np.where(negative & (beyond == 2 ** (allocated - high - 1) - 1), 0, beyond)  # sign extension
        values[negative] -= 2**stored
    overlays = any(data.get((group, 0x0100)) is not None for group in range(0x6000, 0x6020, 2))
    if (beyond != 0).any() and not overlays and not _padding(raw, data)[beyond != 0].all():
        raise BadImage(
            f"a DICOM file with values beyond the {stored} bits that BitsStored states: one of them is wrong"
        )
    return values


def _padding(values: Array, data: Dataset) -> NDArray[np.bool_]:
    """Return a mask of the padding around the image (PS3.3 C.7.5.1.1.2), which is shown black."""
    first = data.get("PixelPaddingValue")
    if first is None or values.ndim == 3:
        return np.zeros(values.shape, bool)
    low, high = sorted((int(first), int(data.get("PixelPaddingRangeLimit", first))))
    return (values >= low) & (values <= high)


def _rescale(data: Dataset) -> tuple[float, float]:
    """Return slope and intercept of the image or its first frame; 1 and 0 if it has none."""
    holder = data
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (data.get(name) or [])[:1]:
            holder = (group.get("PixelValueTransformationSequence") or [holder])[0]
    slope, intercept = float(holder.get("RescaleSlope", 1)), float(holder.get("RescaleIntercept", 0))
    if not slope or not np.isfinite((slope, intercept)).all():
        raise BadImage(f"a DICOM file with RescaleSlope {slope:g} and RescaleIntercept {intercept:g}")
    return slope, intercept


def _rescaled(ends: Window, slope: float, intercept: float) -> Window:
    low, high = sorted(end * slope + intercept for end in ends)
    return low, high
