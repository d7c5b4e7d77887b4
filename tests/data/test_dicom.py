"""DICOM: stored values, what their bits mean, and what the header says of them."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence

from benchmark.data.decoding.pixels import BadImage, Deep, read_file, to_image
from tests.data.encoders import ByteOrder, dicom, tiff

SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
RAMP = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)


def deep(content: bytes) -> Deep:
    decoded = read_file(content)
    assert isinstance(decoded, Deep)
    assert decoded.container == "dicom"
    return decoded


def grey(content: bytes) -> list[int]:
    decoded = deep(content)
    assert decoded.stated is not None
    found: list[int] = np.asarray(to_image(decoded, {"dicom": decoded.stated})).ravel().tolist()
    return found


def test_twelve_bits_are_read_with_the_range_of_their_bits_and_monochrome1_is_inverted() -> None:
    orders: tuple[ByteOrder, ...] = ("<", ">")
    for photometric, expected in (("MONOCHROME2", list(range(256))), ("MONOCHROME1", list(range(255, -1, -1)))):
        for order in orders:
            for implicit in (False, True):
                content = dicom(RAMP, stored=12, photometric=photometric, order=order, implicit=implicit)
                assert grey(content) == expected
    decoded = deep(dicom(RAMP, stored=12))
    assert (decoded.holds, decoded.stated) == ((0, 65535), (0, 4095))
    assert deep(dicom(RAMP)).stated is None


def test_files_without_preamble_are_known_by_their_first_element() -> None:
    kinds: tuple[tuple[ByteOrder, bool], ...] = (("<", False), ("<", True), (">", False))
    for order, implicit in kinds:
        content = dicom(RAMP, stored=12, order=order, implicit=implicit, preamble=False)
        assert grey(content) == list(range(256))


def test_slope_and_intercept_make_values_and_range() -> None:
    signed = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    decoded = deep(dicom(signed, stored=12, elements={"RescaleSlope": 2, "RescaleIntercept": -24}))
    assert (decoded.values == signed.astype(int) * 2 - 24).all()
    assert decoded.values.dtype == np.int32
    assert (decoded.stated, decoded.holds) == ((-4120, 4070), (-65560, 65510))
    falling = dicom(RAMP, stored=12, elements={"RescaleSlope": -0.5, "RescaleIntercept": 100})
    assert deep(falling).stated == (100 - 4095 / 2, 100)
    assert grey(falling) == list(range(255, -1, -1))
    with pytest.raises(BadImage, match="RescaleSlope 0"):
        read_file(dicom(RAMP, elements={"RescaleSlope": 0, "RescaleIntercept": 1}))


def test_the_rescaling_of_an_enhanced_file_is_that_of_its_first_frame() -> None:
    def group(intercept: int) -> Sequence:
        change, item = Dataset(), Dataset()
        change.RescaleSlope, change.RescaleIntercept, change.RescaleType = 1, intercept, "US"
        item.PixelValueTransformationSequence = Sequence([change])
        return Sequence([item])

    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        assert deep(dicom(RAMP, stored=12, elements={name: group(-1000)})).stated == (-1000, 3095)


def test_a_modality_lut_replaces_the_values() -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 10], "US"
    table.LUTData = (np.arange(4096, dtype="<u2") // 4).tobytes()
    decoded = deep(dicom(RAMP, stored=12, elements={"ModalityLUTSequence": Sequence([table])}))
    assert (decoded.values == RAMP // 4).all()
    assert decoded.stated == (0, 1023)


def test_eight_bits_or_fewer_are_an_image_whatever_they_lie_in() -> None:
    values = np.arange(256).reshape(16, 16)
    for kind, stored in (("u1", 8), ("u2", 8), ("u1", 6)):
        fitting = (values >> (8 - stored)).astype(kind)
        for photometric in ("MONOCHROME1", "MONOCHROME2"):
            decoded = read_file(dicom(fitting, stored=stored, photometric=photometric))
            assert isinstance(decoded, Image.Image)
            levels = np.rint(fitting * (255 / (2**stored - 1))).astype(int)
            assert (np.asarray(decoded) == (levels if photometric == "MONOCHROME2" else 255 - levels)).all()


def test_bits_that_the_header_does_not_count_are_refused_unless_they_are_overlays_or_the_sign() -> None:
    with pytest.raises(BadImage, match="values beyond the 11 bits that BitsStored states"):
        read_file(dicom(RAMP, stored=11))
    content = pydicom.dcmread(io.BytesIO(dicom(RAMP | 0x8000, stored=12)))
    content.add_new((0x6000, 0x0100), "US", 16)
    content.add_new((0x6000, 0x0102), "US", 15)
    file = io.BytesIO()
    content.save_as(file)
    assert grey(file.getvalue()) == list(range(256))
    high = dicom(RAMP << 4, stored=12, elements={"HighBit": 15})
    assert grey(high) == list(range(256))
    below = dicom((RAMP.astype(np.int32) - 2048).astype(np.int16) & 0x0FFF, stored=12)  # the sign is not repeated
    assert grey(below) == list(range(256))


def test_padding_becomes_black_and_voi_windows_are_not_applied() -> None:
    values = RAMP.astype(np.int16) - 1024
    values[0, :8] = -2000
    elements = {"PixelPaddingValue": -2000, "WindowCenter": 40, "WindowWidth": 400}
    for photometric, black in (("MONOCHROME2", 0), ("MONOCHROME1", 15)):
        decoded = deep(dicom(values, photometric=photometric, elements=elements))
        assert decoded.values.min() == values[values > -2000].min()
        assert decoded.values.max() == values.max()
        image = np.asarray(to_image(decoded, {"dicom": (values[values > -2000].min(), values.max())}))
        assert (image[0, :8] == 0).all(), black


def test_colours_and_palettes_are_read_as_pydicom_reads_them() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    assert (np.asarray(read_file(dicom(colours))) == colours).all()
    wide = read_file(dicom(colours.astype(np.uint16) * 257))
    assert isinstance(wide, Deep)
    assert (np.asarray(to_image(wide, {"dicom": (0, 65535)})) == colours).all()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("57", lambda values: imagecodecs.jpeg_encode(values, bitspersample=12, lossless=True)),
        ("70", lambda values: imagecodecs.jpeg_encode(values, bitspersample=12, lossless=True)),
        ("80", imagecodecs.jpegls_encode),
        ("90", lambda values: imagecodecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=12)),
    ],
)
def test_compressed_values_are_those_that_were_compressed(syntax: str, encode: Any) -> None:
    content = dicom(RAMP, stored=12, compressed=(f"1.2.840.10008.1.2.4.{syntax}", bytes(encode(RAMP))))
    assert (deep(content).values == RAMP).all()


def test_several_frames_are_refused_unless_the_first_is_asked_for() -> None:
    content = dicom(RAMP, stored=12, frames=3)
    with pytest.raises(BadImage, match="contains 3 DICOM frames instead of one image; `frames: first` uses the first"):
        read_file(content)
    decoded = read_file(content, frames="first")
    assert isinstance(decoded, Deep)
    assert (decoded.values == RAMP).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dicom(RAMP, elements={"Rows": 30000, "Columns": 30000}), "more than 89,478,485"),
        (dicom(RAMP, elements={"Rows": 17}), "less than expected"),
        (dicom(RAMP, elements={"BitsStored": 17}), "Bits Stored"),
        (dicom(RAMP, photometric="HSV"), "PhotometricInterpretation HSV"),
        (dicom(RAMP, photometric="A\x1b[31m" * 99), "A�.31mA.*…$"),
        (dicom(RAMP, elements={"PhotometricInterpretation": None}), "without PhotometricInterpretation"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        read_file(content)


def test_a_dicom_file_without_an_image_says_what_it_is() -> None:
    report = next(path for path in SHIPPED if path.name == "reportsi.dcm")
    with pytest.raises(BadImage, match=r"a DICOM file without an image \(Basic Text SR Storage\)"):
        read_file(report.read_bytes())


def test_without_a_library_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, content, other = builtins.__import__, dicom(RAMP), tiff(RAMP, 16)

    def without(name: str, *rest: Any) -> Any:
        if name in ("pydicom", "tifffile"):
            raise ImportError(name, name=name)
        return wanted(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadImage, match=r"which needs pydicom: pip install pydicom .*'\.\[dicom\]'"):
        read_file(content)
    with pytest.raises(BadImage, match="needs tifffile: pip install tifffile"):
        read_file(other)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_each_file_that_pydicom_ships_is_read_as_pydicom_reads_it_or_refused_with_a_reason(path: Path) -> None:
    try:
        decoded = read_file(path.read_bytes(), frames="first")
    except BadImage as error:
        assert path.name in REFUSED or "without" in str(error), error
        return
    data = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    if path.name == "JPEG-lossy.dcm" or "PALETTE" in data.PhotometricInterpretation:
        return  # libjpeg of pylibjpeg does not read it; a palette is applied
    values = pixel_array(data, index=0)
    padding = values == data.get("PixelPaddingValue", np.nan)
    found = decoded.values if isinstance(decoded, Deep) else np.asarray(decoded)
    if isinstance(decoded, Deep):
        values = values if values.ndim == 3 else apply_modality_lut(values, data)
    elif data.BitsAllocated == 1:
        values = values * 255
    apart = path.name == "JPGExtended.dcm"  # lossy: two decoders
    assert np.abs(np.where(padding, 0, found.astype(float) - values)).max() <= apart


REFUSED = {
    "GDCMJ2K_TextGBR.dcm",  # a damaged codestream
    "JPEG2000-embedded-sequence-delimiter.dcm",  # a made-up codestream
    "MR_truncated.dcm",
    "badVR.dcm",
    "image_dfl.dcm",  # deflated
    "no_meta.dcm",  # begins in the middle of an element
}
