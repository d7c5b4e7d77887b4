"""A folder of images of every kind that is decoded, in two classes that a network can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(name: str, number: int, side: int = 48) -> Image.Image:
    """Return noise with a bright bar, lying in class ``lying`` and standing in class ``standing``; in colour."""
    generator = np.random.default_rng([number, name == "lying"])
    pixels = generator.integers(0, 90, (side, side + 12, 3), dtype=np.uint8)
    first = int(generator.integers(4, side - 12))
    if name == "lying":
        pixels[first : first + 6, :, :2] = 220
    else:
        pixels[:, first : first + 6, 1:] = 200
    return Image.fromarray(pixels)


def write(folder: Path, each: int = 20) -> Path:
    """Write a folder a class: JPEG turned by EXIF, PNG with alpha, with a palette, with 16 bits, CMYK, plain."""
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            image = picture(name, number)
            path = folder / name / f"{number}"
            match number % 6:
                case 0:
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif)
                case 1:
                    image.putalpha(Image.linear_gradient("L").resize(image.size))
                    image.save(path.with_suffix(".png"))
                case 2:
                    image.convert("P", palette=Image.Palette.ADAPTIVE).save(path.with_suffix(".png"))
                case 3:
                    wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
                    Image.fromarray(wide).save(path.with_suffix(".png"))
                case 4:
                    image.convert("CMYK").save(path.with_suffix(".jpg"))
                case _:
                    image.save(path.with_suffix(".png"))
    return folder
