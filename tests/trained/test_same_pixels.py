"""The code of an exported folder and `predict` make the same pixels of every file, or refuse it both."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.decoding import pixels
from benchmark.data.decoding.pixels import BadImage
from benchmark.networks.libraries.find import find_architecture
from benchmark.trained.export import describe, make_config
from benchmark.trained.restore import TrainedRun
from benchmark.training.batches import derive_of
from tests import factories
from tests.data import encoders
from tests.factories import picture

WINDOWS = {"16-bit": [0, 4095], "signed 16-bit": [-1024, 3071], "float": [0, 1], "dicom": [-1024, 3071]}
FOREIGN = """
import re, sys
import numpy as np
sys.modules["benchmark"] = None
readme = open("README.md", encoding="utf-8").read()
exec(next(block for block in re.findall(r"```python\\n(.*?)```", readme, re.S) if "def prepare" in block))
from pathlib import Path
from pixels import BadImage
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        found[path.name] = prepare(path)
    except BadImage as error:
        found[path.name] = np.array(str(error))
np.savez(sys.argv[2], **found)
"""


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents: every format, depth, orientation, alpha, palette, and what must be refused."""
    image = picture(1, 20).crop((0, 0, 20, 14))
    grey = image.convert("L")
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        yield f"turned-{turn}.jpg", saved(image, "JPEG", exif=exif)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"{mode}.png", saved(image.convert(mode), "PNG")
    faded = image.copy()
    faded.putalpha(Image.linear_gradient("L").resize(image.size))
    for file_format in ("PNG", "WEBP", "TIFF"):
        yield f"faded.{file_format}", saved(faded, file_format)
    yield "clear.png", saved(image.convert("P"), "PNG", transparency=3)
    yield "clear.gif", saved(image.convert("P"), "GIF", transparency=3)
    for mode in ("L", "RGB", "CMYK"):
        yield f"{mode}.jpg", saved(image.convert(mode), "JPEG")
        yield f"{mode}.tif", saved(image.convert(mode), "TIFF")
    for file_format in ("BMP", "GIF", "PPM", "WEBP", "JPEG2000"):
        yield f"plain.{file_format}", saved(grey, file_format)
    for file_format in ("GIF", "WEBP", "PNG", "TIFF"):
        yield (
            f"animated.{file_format}",
            saved(image, file_format, save_all=True, append_images=[picture(2, 20).crop((0, 0, 20, 14))]),
        )
    ramp = np.arange(280).reshape(14, 20)
    for bits in (8, 10, 12, 14, 16):
        values = (ramp * (2**bits - 1) // 279).astype(np.uint16)
        if bits > 8:
            yield f"in-16-{bits}.png", encoders.png(values, 16)
            yield f"in-16-{bits}.tif", encoders.tiff(values, 16, order=">")
            yield f"{bits}.pgm", encoders.pnm(values, 2**bits - 1)
            yield f"{bits}.dcm", encoders.dicom(values, stored=bits)
        yield f"packed-{bits}.tif", encoders.tiff(values, bits, photometric=bits % 4 // 2)
    values = (ramp * 14).astype(np.uint16)
    changed: list[dict[str, Any]] = [
        {"photometric": 0},
        {"deflated": True},
        {"big": True},
        {"tags": {274: 6}},
        {"rows": 3},
    ]
    for number, changes in enumerate(changed):
        yield f"other-{number}.tif", encoders.tiff(values, 16, **changes)
    yield "several.tif", encoders.tiff(values, 16, more=[values])
    yield "signed.tif", encoders.tiff((values.astype(np.int16) - 1024), 16)
    yield "long.tif", encoders.tiff(values.astype(np.uint32), 32)
    yield "float.tif", encoders.tiff((ramp / 279).astype(np.float32), 32)
    yield "holes.tif", encoders.tiff(np.full((14, 20), np.nan, np.float32), 32)
    colours = np.stack([values, values // 2, values[::-1]], axis=2)
    yield "colours-16.png", encoders.png(colours, 16)
    yield "colours-16.tif", encoders.tiff(colours, 16, photometric=2, planar=True)
    yield "faded-16.png", encoders.png(np.dstack([colours, values * 16]), 16)
    yield "laced.png", encoders.png(values, 16, interlaced=True)
    yield "bright.png", encoders.png(values * 8, 16)
    tall = np.zeros((40, 40), np.uint16)
    tall[0, 0] = 65535
    yield "one-hot-pixel.png", encoders.png(tall, 16)
    hounsfield = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    yield "scan.dcm", encoders.dicom(values, stored=12, elements=hounsfield)
    yield "inverse.dcm", encoders.dicom(values, stored=12, photometric="MONOCHROME1", elements=hounsfield)
    yield "old.dcm", encoders.dicom(values, stored=12, preamble=False, implicit=True)
    yield "frames.dcm", encoders.dicom(values // 2, frames=2)
    yield "small.dcm", encoders.dicom(np.asarray(grey))
    whole = saved(image, "PNG")
    yield "cut.png", whole[:-40]
    yield "cut.jpg", saved(image, "JPEG")[:-200]
    yield "cut.tif", encoders.tiff(values, 16)[:300]
    yield "empty.png", b""
    yield "text.png", b"no image"
    yield "drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n"


@pytest.mark.parametrize(
    ("mode", "frames"),
    [
        ("grey-3ch", "first"),
        *(pytest.param(mode, "refuse", marks=pytest.mark.slow) for mode in ("rgb", "colormap", "views")),
    ],
)
def test_an_exported_folder_makes_the_pixels_of_predict_from_every_file_or_refuses_it_too(
    mode: str, frames: str, tmp_path: Path
) -> None:
    source = {"name": "folder:cells", "content": "0" * 64, "frames": frames, "windows": WINDOWS}
    spec = factories.spec(datasets=[source], input_modes=[mode], training={"image_size": 24, "crop_size": 16})
    record = factories.done(spec)
    network = find_architecture(spec.model).create(len(record.dataset.classes), record.model.input_channels)
    run = TrainedRun(record, network, torch.device("cpu"), "fp32")
    given, exported = tmp_path / "given", tmp_path / "exported"
    given.mkdir()
    exported.mkdir()
    files = dict(odd_files())
    assert len(files) >= 70
    for name, content in files.items():
        (given / name).write_bytes(content)
    for name, content in describe(make_config(run)).items():
        (exported / name).write_bytes(content)
    assert (exported / "pixels.py").read_bytes() == Path(pixels.__file__).read_bytes()
    command = [sys.executable, "-c", FOREIGN, str(given), str(tmp_path / "found.npz")]
    subprocess.run(command, cwd=exported, check=True, timeout=120)
    refused = []
    with np.load(tmp_path / "found.npz") as found:
        for name, content in files.items():
            try:
                own = run.decode(content).pixels
                if (derived := derive_of(spec)) is not None:
                    own = derived(own[None])[0]
                own = own[4:20, 4:20].transpose(2, 0, 1)
            except BadImage as error:
                assert str(error) == str(found[name]), name
                refused.append(name)
            else:
                given_pixels = np.rint((found[name][0] * 0.5 + 0.5) * 255)  # mean and std are 0.5
                np.testing.assert_array_equal(given_pixels, own, err_msg=name)
    animated = {name for name in files if re.match("animated|several|frames", name)}
    assert {"bright.png", "long.tif", "holes.tif", "cut.png", "cut.tif", "text.png", "drawing.eps"} <= set(refused)
    assert animated.isdisjoint(refused) if frames == "first" else animated <= set(refused)
    assert len(refused) < len(files) / 3
    assert [run.decode(files[name]).clipped for name in ("one-hot-pixel.png", "in-16-12.png")] == [1, 0]
