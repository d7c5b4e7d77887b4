"""Image files written from values, byte by byte: depths, orders and headers that no library writes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

ByteOrder = Literal["<", ">"]
Values = NDArray[Any]

_SHORT, _LONG, _ASCII = 3, 4, 2


def packed(values: Values, bits: int, order: ByteOrder = ">") -> bytes:
    """Return rows of numbers, the highest bit first, each row filled up to a byte; whole bytes in a byte order."""
    if bits % 8 == 0:
        return values.astype(f"{order}{values.dtype.kind}{bits // 8}").tobytes()
    rows = values.reshape(len(values), -1).astype(np.int64)
    split = (rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(split.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    values: Values,
    bits: int,
    *,
    photometric: int | None = 1,
    order: ByteOrder = "<",
    big: bool = False,
    planar: bool = False,
    deflated: bool = False,
    rows: int | None = None,
    tags: Mapping[int, int | str | Sequence[int]] | None = None,
    more: Sequence[Values] = (),
) -> bytes:
    """Return a TIFF file of values of shape (h, w) or (h, w, samples), and of more pages like the first.

    Args:
        values: unsigned, signed or floating-point.
        bits: of a sample.
        photometric: 0 for WhiteIsZero, 1, 2 for RGB; None leaves it out.
        order: of the bytes.
        big: BigTIFF.
        planar: samples in planes of their own.
        deflated: by zlib, else uncompressed.
        rows: of a strip, or None for all.
        tags: others, which replace those that are written here.
        more: values of further pages.
    """
    offset = "Q" if big else "L"
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(mark + (struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)))
    pointer = len(out)
    out += struct.pack(order + offset, 0)
    for page in (values, *more):
        samples = 1 if page.ndim == 2 else page.shape[2]
        planes = [page[:, :, k] for k in range(samples)] if planar and samples > 1 else [page]
        height = rows or len(page)
        strips = [packed(plane[k : k + height], bits, order) for plane in planes for k in range(0, len(page), height)]
        strips = [zlib.compress(strip) for strip in strips] if deflated else strips
        starts = []
        for strip in strips:
            starts.append(len(out))
            out += strip + bytes(len(strip) % 2)
        entries: dict[int, int | str | Sequence[int]] = {
            256: page.shape[1],
            257: page.shape[0],
            258: [bits] * samples,
            259: 8 if deflated else 1,
            273: starts,
            277: samples,
            278: height,
            279: [len(strip) for strip in strips],
            284: 2 if len(planes) > 1 else 1,
            339: [{"u": 1, "i": 2, "f": 3}[page.dtype.kind]] * samples,
            **({} if photometric is None else {262: photometric}),
            **(tags or {}),
        }
        directory = bytearray(struct.pack(f"{order}{'Q' if big else 'H'}", len(entries)))
        room = struct.calcsize(f"={offset}")
        for tag, value in sorted(entries.items()):
            kind = (
                _ASCII
                if isinstance(value, str)
                else _LONG
                if tag in (256, 257, 273, 278, 279, *range(322, 326), 330)
                else _SHORT
            )
            data = value.encode() + b"\0" if isinstance(value, str) else b""
            if not isinstance(value, str):
                numbers = [value] if isinstance(value, int) else list(value)
                data = struct.pack(f"{order}{len(numbers)}{'L' if kind == _LONG else 'H'}", *numbers)
            count = len(data) // {_ASCII: 1, _SHORT: 2, _LONG: 4}[kind]
            if len(data) > room:
                place = len(out)
                out += data + bytes(len(data) % 2)
                data = struct.pack(order + offset, place)
            directory += struct.pack(f"{order}HH{offset}", tag, kind, count) + data.ljust(room, b"\0")
        struct.pack_into(order + offset, out, pointer, len(out))
        out += directory
        pointer = len(out)
        out += struct.pack(order + offset, 0)
    return bytes(out)


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(values: Values, bits: int, *, interlaced: bool = False, chunks: bytes = b"") -> bytes:
    """Return a PNG file of values of shape (h, w) or (h, w, 2, 3 or 4); ``chunks`` go before the pixels."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    passes = [values[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [values]
    lines = b"".join(b"\0" + packed(row[None], bits) for part in passes if part.size for row in part)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + pixels


def pnm(values: Values, most: int, *, plain: bool = False, comment: str = "") -> bytes:
    """Return a PGM or PPM file of values of shape (h, w) or (h, w, 3) with a maxval."""
    form = (2 if plain else 5) + (values.ndim == 3)
    header = f"P{form}\n{comment}{values.shape[1]} {values.shape[0]}\n{most}\n".encode()
    if plain:
        return header + b"\n".join(b" ".join(b"%d" % value for value in row.ravel()) for row in values) + b"\n"
    return header + values.astype(">u2" if most > 255 else "u1").tobytes()


def dicom(
    values: Values,
    *,
    stored: int | None = None,
    photometric: str | None = None,
    order: ByteOrder = "<",
    implicit: bool = False,
    preamble: bool = True,
    frames: int = 1,
    compressed: tuple[str, bytes] | None = None,
    elements: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a DICOM file of values of shape (h, w) or (h, w, 3), integers of 8, 16 or 32 bits.

    Args:
        values: stored values.
        stored: BitsStored, or None for all.
        photometric: MONOCHROME2 or RGB where it is None.
        order: of the bytes; big-endian is explicit.
        implicit: without value representations.
        preamble: whether 128 bytes, DICM and file meta information come first.
        frames: how often the values follow each other.
        compressed: transfer syntax, and the codestream that stands for the values.
        elements: others, by keyword, which replace those that are written here.
    """
    syntax = ExplicitVRBigEndian if order == ">" else ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    allocated = 8 * values.itemsize
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 1 if values.ndim == 2 else 3
    data.PhotometricInterpretation = photometric or ("MONOCHROME2" if values.ndim == 2 else "RGB")
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.BitsAllocated, data.BitsStored = allocated, stored or allocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    data.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes() * frames
    if compressed is not None:
        data.PixelData = encapsulate([compressed[1]])
        data["PixelData"].is_undefined_length = True
    data["PixelData"].VR = "OW" if allocated > 8 and compressed is None else "OB"
    for keyword, value in (elements or {}).items():
        setattr(data, keyword, value)
    file = io.BytesIO()
    if preamble:
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = UID(compressed[0]) if compressed is not None else syntax
        data.save_as(file, enforce_file_format=True)
    else:
        data.save_as(file, implicit_vr=implicit, little_endian=order == "<")
    return file.getvalue()
