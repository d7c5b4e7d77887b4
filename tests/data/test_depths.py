"""No depth, order or sense of a file's samples is lost: a ramp keeps its levels and its direction, or is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.decoding.pixels import BadImage, Deep, read_file, to_image
from tests.data.encoders import ByteOrder, chunk, dicom, png, pnm, tiff

Values = NDArray[Any]


def ramp(bits: int, *, signed: bool = False) -> Values:
    """Return all values of so many bits, or 4096 of them, ascending, from the lowest to the highest, 32 in a row."""
    values = np.linspace(0, 2**bits - 1, min(2**bits, 4096)).round().astype(np.int64) - signed * 2 ** (bits - 1)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}"
    rows: Values = values.reshape(-1, min(len(values), 32)).astype(kind)
    return rows


def grey_levels(content: bytes) -> Values:
    """Return what becomes of a file in the range that it states, or else in that of its container."""
    decoded = read_file(content)
    if isinstance(decoded, Deep):
        window = decoded.stated or decoded.holds or (float(decoded.values.min()), float(decoded.values.max()))
        decoded = to_image(decoded, {decoded.container: window})
    return np.asarray(decoded.convert("L")).ravel().astype(int)


def is_kept(content: bytes, bits: int, *, inverted: bool = False) -> bool:
    """Return whether a file of a ramp is read, with all its levels that 8 bits can hold, in its order, or refused."""
    try:
        levels = grey_levels(content)
    except BadImage:
        return False
    levels = 255 - levels if inverted else levels
    assert len(np.unique(levels)) == min(256, 2**bits)
    assert (np.diff(levels) >= 0).all()
    assert (levels[0], levels[-1]) == (0, 255)
    return True


@dataclass(frozen=True)
class Sort:
    """One way to write a ramp."""

    file_format: str
    bits: int
    order: ByteOrder
    signed: bool
    inverted: bool
    samples: int
    planar: bool
    deflated: bool
    other: bool
    """BigTIFF, interlaced PNG, plain PGM, implicit DICOM."""

    @property
    def content(self) -> bytes:
        values = ramp(self.bits, signed=self.signed)
        grey = values
        if self.samples > 1:
            opaque = np.full_like(values, np.iinfo(values.dtype).max if self.bits % 8 == 0 else 2**self.bits - 1)
            values = np.dstack([values] * (self.samples - (self.samples % 2 == 0)) + [opaque] * (self.samples % 2 == 0))
        match self.file_format:
            case "tiff":
                sense = 2 if self.samples > 2 else 0 if self.inverted else 1
                extra = {338: 2} if self.samples % 2 == 0 else {}
                return tiff(
                    values,
                    self.bits,
                    photometric=sense,
                    order=self.order,
                    big=self.other,
                    planar=self.planar,
                    deflated=self.deflated,
                    rows=5 if self.planar else None,
                    tags=extra,
                )
            case "png":
                return png(values, self.bits, interlaced=self.other)
            case "pnm":
                return pnm(values if self.samples == 3 else grey, 2**self.bits - 1, plain=self.other)
        wide = grey.astype(f"{grey.dtype.kind}{4 if self.bits > 16 else 2 if self.bits > 8 or self.planar else 1}")
        sense_of = "MONOCHROME1" if self.inverted else "MONOCHROME2"
        return dicom(wide, stored=self.bits, photometric=sense_of, order=self.order, implicit=self.other)


@st.composite
def sorts(draw: st.DrawFn) -> Sort:
    file_format = draw(st.sampled_from(["tiff", "png", "pnm", "dicom"]))
    bits = {"tiff": [*range(1, 17), 32], "png": [1, 2, 4, 8, 16], "pnm": range(1, 17), "dicom": [*range(1, 17), 32]}
    samples = draw(st.sampled_from([1, 1, 1, 2, 3, 4] if file_format != "dicom" else [1]))
    is_grey = samples < 3 and file_format in ("tiff", "dicom")
    chosen = draw(st.sampled_from(list(bits[file_format])))
    if file_format == "png" and samples > 1:
        chosen = draw(st.sampled_from([8, 16]))
    order: ByteOrder = draw(st.sampled_from(["<", ">"]))
    booleans = st.booleans()
    return Sort(
        file_format,
        chosen,
        order,
        signed=draw(booleans) and file_format in ("tiff", "dicom") and chosen > 1,
        inverted=draw(booleans) and is_grey,
        samples=samples,
        planar=draw(booleans),
        deflated=draw(booleans),
        other=draw(booleans),
    )


@settings(max_examples=400, deadline=None)
@given(sorts())
def test_a_ramp_of_any_sort_of_file_keeps_its_levels_and_its_direction_or_is_refused(sort: Sort) -> None:
    is_kept(sort.content, sort.bits, inverted=sort.inverted)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 9, 10, 12, 14, 16, 32])
def test_grey_tiff_of_the_usual_depths_is_read(bits: int, photometric: int, order: ByteOrder) -> None:
    for deflated in (False, True):
        content = tiff(ramp(bits), bits, photometric=photometric, order=order, deflated=deflated, rows=7)
        assert is_kept(content, bits, inverted=photometric == 0)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_and_floating_point_tiff_is_read_with_its_own_values(bits: int) -> None:
    values = ramp(bits, signed=True)
    signed = read_file(tiff(values, bits))
    assert isinstance(signed, Deep)
    assert (signed.container, signed.stated) == (f"signed {bits}-bit", None)
    assert (signed.values == values).all()
    floats = np.linspace(-3, 7, 64, dtype=np.float32).reshape(8, 8)
    decoded = read_file(tiff(floats, 32, order=">"))
    assert isinstance(decoded, Deep)
    assert (decoded.container, decoded.holds, decoded.stated) == ("float", None, None)
    assert (decoded.values == floats).all()


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "lzma", "packbits", "jpeg2000", None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_compressed_predicted_and_tiled_tiff_is_read(compression: str | None, dtype: str) -> None:
    values = np.arange(4096).reshape(64, 64) * (1 if dtype == "uint16" else 1 / 16)
    for tile in (None, (32, 16)):
        for predictor in (False, True):
            if predictor and compression not in ("lzw", "deflate", "zstd", "lzma"):
                continue
            file = io.BytesIO()
            tifffile.imwrite(
                file, values.astype(dtype), compression=compression, predictor=predictor, tile=tile, metadata=None
            )
            decoded = read_file(file.getvalue())
            found = decoded.values if isinstance(decoded, Deep) else np.asarray(decoded)
            assert (found == values.astype(dtype)).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(ramp(8), 8, photometric=None), "black may be 0 or the highest value"),
        (tiff(ramp(12), 12, tags={279: 2}), "2 bytes of samples instead of 6144"),
        (tiff(ramp(16), 16)[:-150], "cannot be decoded"),
        (tiff(np.full((8, 8), np.nan, np.float32), 32), "infinite or not numbers"),
        (tiff(ramp(16), 16, tags={42113: "65535"}), "holes: GDAL_NODATA is 65535"),
        (tiff(ramp(8), 8, tags={317: 2}), "some programs apply the predictor"),
        (tiff(ramp(16), 16, tags={266: 2}), "FillOrder 2"),
        (
            tiff(ramp(8), 8, photometric=3, tags={320: [k % 256 for k in range(768)]}),
            "written with 8 bits instead of 16",
        ),
        (tiff(np.dstack([ramp(16)] * 2), 16, tags={338: 1}), "ExtraSamples 1"),
        (tiff(np.dstack([ramp(16)] * 5), 16), "whose meaning it does not state"),
        (tiff(ramp(16), 16, photometric=32803), "PhotometricInterpretation 32803"),
        (tiff(ramp(8), 8, tags={254: 1, 330: 8}), "only thumbnails or masks"),
        (tiff(ramp(16), 16, deflated=True, tags={279: 99999}), "strips or tiles of the TIFF file are missing"),
        (tiff(ramp(16), 16, tags={273: 200}), "truncated: a TIFF file with 8138 bytes of samples instead of 8192"),
        (tiff(ramp(16), 16, tags={256: 60000, 257: 60000}), "more than 89,478,485"),
        (pnm(ramp(12), 2000), "above its maxval"),
        (pnm(ramp(12), 4095)[:-9], "truncated: 4091 of 4096 samples"),
        (pnm(ramp(8), 255) + pnm(ramp(8), 255), "several images"),
    ],
)
def test_what_programs_read_differently_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        read_file(content)


def test_twelve_bits_in_words_of_sixteen_that_a_tiff_calls_twelve_are_not_taken_for_packed_ones() -> None:
    words = tiff(ramp(16), 16, tags={258: 12})
    with pytest.raises(
        BadImage, match="6144 bytes if they are packed and 8192 if each has its own bytes, but it has 8192"
    ):
        read_file(words)


def test_the_last_strip_of_a_tiff_may_be_counted_as_a_full_one() -> None:
    for bits in (4, 8, 12, 16):
        values = np.resize(ramp(bits), (9, 16))
        content = tiff(values, bits, rows=5, tags={279: [5 * 16 * bits // 8] * 2})
        assert grey_levels(content).tolist() == grey_levels(tiff(values, bits)).tolist()


def test_minimum_and_maximum_sample_values_are_statistics_and_no_range() -> None:
    plain, noted = (read_file(tiff(ramp(16), 16, tags=tags)) for tags in ({}, {280: 5, 281: 999}))
    assert isinstance(plain, Deep)
    assert isinstance(noted, Deep)
    assert (noted.holds, noted.stated) == (plain.holds, plain.stated) == ((0, 65535), None)


def test_the_one_image_among_thumbnails_masks_and_levels_of_a_pyramid_is_read_and_stacks_are_refused() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for subfiletype, side in ((1, 8), (0, 64), (4, 64), (1, 32)):
            dtype = bool if subfiletype == 4 else np.uint16
            writer.write(np.ones((side, side), dtype), subfiletype=subfiletype, photometric="minisblack")
    decoded = read_file(file.getvalue())
    assert isinstance(decoded, Deep)
    assert decoded.values.shape == (64, 64)
    stacks = [tiff(ramp(16), 16, more=[ramp(16)]), tiff(ramp(8), 8, tags={270: "ImageJ=1.53\nimages=9\n"})]
    for stack in stacks:
        with pytest.raises(BadImage, match="several TIFF pages instead of one image; `frames: first` uses the first"):
            read_file(stack)
        assert read_file(stack, frames="first")


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_sixteen_bits_keeps_all_of_them_in_grey_and_in_colour(samples: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, samples)).astype(np.uint16)
    decoded = read_file(png(values[:, :, 0] if samples == 1 else values, 16))
    assert isinstance(decoded, Deep)
    colours = samples - (samples % 2 == 0)
    assert (decoded.values.reshape(9, 7, colours) == values[:, :, :colours]).all()
    assert (decoded.alpha is not None) == (samples % 2 == 0)
    if decoded.alpha is not None:
        assert (decoded.alpha == np.rint(values[:, :, -1] / 257)).all()


def test_a_transparent_colour_of_sixteen_bits_becomes_white() -> None:
    grey, colours = np.full((2, 2), 5000, np.uint16), np.full((2, 2, 3), 5000, np.uint16)
    grey[0, 0], colours[0, 0, 2] = 5001, 5001
    for values, clear in ((grey, [5001]), (colours, [5000, 5000, 5001])):
        content = png(values, 16, chunks=chunk(b"tRNS", np.array(clear, ">u2").tobytes()))
        assert np.asarray(to_image(read_file(content), {"16-bit": (0, 65535)}).convert("L")).tolist() == [
            [255, 19],
            [19, 19],
        ]


def test_significant_bits_of_png_count_only_where_the_writer_did_not_scale() -> None:
    def stated(values: Values, bits: int) -> object:
        decoded = read_file(png(values, 16, chunks=chunk(b"gAMA", bytes(4)) + chunk(b"sBIT", bytes([bits]))))
        assert isinstance(decoded, Deep)
        return decoded.stated

    twelve = ramp(12)
    assert stated(twelve, 12) == (0, 4095)
    assert stated(twelve << 4, 12) is None  # scaled to 16 bits, as PNG demands
    assert stated((twelve << 4) // 100 * 16, 12) is None  # a dark image that is scaled
    assert stated(twelve, 11) is None
    assert stated(twelve, 16) is None


def test_the_maxval_of_pgm_is_its_range() -> None:
    for most in (256, 1000, 4095, 65535):
        values = np.arange(most + 1, dtype=np.uint16)[None, ::37]
        for plain in (False, True):
            decoded = read_file(pnm(values, most, plain=plain, comment="# of a camera\n"))
            assert isinstance(decoded, Deep)
            assert (decoded.values == values).all()
            assert decoded.stated == (None if most == 65535 else (0, most))


@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
def test_jpeg_of_twelve_bits_and_jpeg_2000_are_read_and_other_deep_jpeg_is_refused(bits: int) -> None:
    values = ramp(bits)
    encoders: list[Callable[[], bytes | bytearray]] = [
        lambda: imagecodecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=bits),
        lambda: imagecodecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=bits, codecformat="j2k"),
    ]
    encoders += [lambda: imagecodecs.jpeg_encode(values, bitspersample=12, level=100)] * (bits == 12)
    for encode in encoders:
        assert is_kept(bytes(encode()), bits)
    for refused in (
        imagecodecs.jpegls_encode(values),
        imagecodecs.jpeg_encode(ramp(16), bitspersample=16, lossless=True),
    ):
        with pytest.raises(BadImage, match="or lossless, which is not supported: save it as PNG or TIFF"):
            read_file(bytes(refused))


def test_the_turn_that_a_camera_states_is_the_same_for_all_depths() -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 20
    for orientation in range(10):
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        Image.fromarray(values.astype(np.uint8)).save(file, "PNG", exif=exif)
        deep, small = (
            read_file(tiff(values.astype(f"u{bits // 8}"), bits, tags={274: orientation})) for bits in (16, 8)
        )
        assert isinstance(deep, Deep)
        expected = np.asarray(read_file(file.getvalue()))
        assert (deep.values == expected).all()
        assert (np.asarray(small) == expected).all()


def test_deep_values_are_scaled_by_their_window_rounded_and_inverted_after_it() -> None:
    values = np.array([[0, 1, 2, 1000, 2047, 4094, 4095]], np.uint16)
    expected = np.floor(values.astype(int) * 255 / 4095 + 0.5).astype(int)
    plain, white = (read_file(tiff(values, 16, photometric=sense)) for sense in (1, 0))
    assert (np.asarray(to_image(plain, {"16-bit": (0, 4095)})) == expected).all()
    assert (np.asarray(to_image(white, {"16-bit": (0, 4095)})) == 255 - expected).all()
    floats = read_file(tiff((values / 4095).astype(np.float32), 32))
    assert (np.asarray(to_image(floats, {"float": (0, 1)})) == expected).all()


def test_values_outside_of_a_window_are_cut_off_and_more_than_a_thousandth_is_an_error_with_the_bits() -> None:
    values = np.zeros((100, 100), np.uint16)
    values[0, :10] = 5000
    decoded = read_file(tiff(values, 16))
    assert np.asarray(to_image(decoded, {"16-bit": (0, 4095)}))[0, :11].tolist() == [255] * 10 + [0]
    values[1, 0] = 5000
    more = read_file(tiff(values, 16))
    with pytest.raises(BadImage, match=r"window, 0 to 4095: .* 0 to 5000. `value_range: \{bits: 14\}` includes them"):
        to_image(more, {"16-bit": (0, 4095)})
    assert to_image(more, {"16-bit": (0, 4095)}, clip=True).getextrema() == (0, 255)
