"""Pictures of a dataset: what the network sees in each input mode, and what each augmentation does to one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.decoding.pixels import BadImage, read_image, to_array
from benchmark.data.listing import Listing
from benchmark.errors import UserError
from benchmark.matrix.augmentations import AUGMENTATIONS, Step, parse
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.seeding import derive_seed
from benchmark.training.augment import augment

_MARGIN = 4
_LINE = 16
_LABEL = 150
_MOST_CLASSES = 12
Pixels = NDArray[np.uint8]


def contact_sheet(
    listing: Listing, *, modes: Sequence[str], size: int, columns: int, steps: Sequence[Step] = (), seed: int = 0
) -> Image.Image:
    """Return one picture: for each class and input mode a row of images as the network sees them, before normalisation.

    Args:
        listing: the dataset's files; at most a dozen classes are shown, spread over all.
        modes: keys of `INPUT_MODES`; the same images in each.
        size: sides after resizing, pixels.
        columns: images in a row.
        steps: augmentations, applied after greying as in a run.
        seed: chooses the images, and what the augmentations do.

    Raises:
        UserError: a chosen image cannot be decoded.
    """
    rows: list[tuple[str, list[Pixels]]] = []
    shown = np.unique(np.linspace(0, len(listing.classes) - 1, _MOST_CLASSES).round().astype(int)).tolist()
    for label in shown:
        of_class = [file.path for file in listing.files if file.label == label]
        rng = np.random.default_rng(derive_seed(seed, "contact sheet", label))
        chosen = [of_class[k] for k in sorted(rng.permutation(len(of_class))[:columns].tolist())]
        for mode in modes:
            images = np.stack([_decoded(path, size, INPUT_MODES[mode].grey) for path in chosen])
            rows.append((f"{listing.classes[label]}\n{mode}", list(_augmented(images, steps, seed))))
    return _grid(rows, size)


def gallery(listing: Listing, *, size: int, columns: int, seed: int = 0) -> Image.Image:
    """Return one picture: for each augmentation, at its defaults, one image treated by several seeds; first as it is.

    What happens by chance happens here to every tile: its probability is 1, and the caption says so.

    Args:
        listing: the dataset's files; the seed chooses the image.
        size: sides after resizing, pixels.
        columns: images in a row.
        seed: chooses the image, and the seeds.

    Raises:
        UserError: the chosen image cannot be decoded.
    """
    file = listing.files[derive_seed(seed, "gallery") % len(listing.files)]
    original = _decoded(file.path, size, grey=False)
    rows = []
    for name, parameters in AUGMENTATIONS.items():
        step = parse({name: {"probability": 1} if "probability" in parameters else {}})
        treated = _augmented(np.stack([original] * (columns - 1)), [step], seed)
        values = ", ".join(f"{key} {value:g}" for key, value in step.parameters)
        rows.append((f"{name}\n{values}", [original, *treated]))
    return _grid(rows, size)


def _decoded(path: Path, size: int, grey: bool) -> Pixels:
    try:
        return to_array(read_image(path.read_bytes()), size, grey)
    except (BadImage, OSError) as error:
        raise UserError(f"{path}: {error}") from None


def _augmented(images: Pixels, steps: Sequence[Step], seed: int) -> Pixels:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    seeds = [derive_seed(seed, "sheet", index) for index in range(len(images))]
    try:
        result: Pixels = augment(batch, steps, seeds).permute(0, 2, 3, 1).numpy()
    except ValueError as error:
        raise UserError(f"{error}; name a colour --mode, or another augmentation.") from None
    return result


def _grid(rows: Sequence[tuple[str, list[Pixels]]], size: int) -> Image.Image:
    height = max(size, 2 * _LINE) + _MARGIN
    width = _LABEL + max(len(images) for _, images in rows) * (size + _MARGIN)
    sheet = Image.new("RGB", (width, height * len(rows) + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, (label, images) in enumerate(rows):
        top = number * height + _MARGIN
        draw.multiline_text((_MARGIN, top), label, fill="black", font=font)
        for column, pixels in enumerate(images):
            tile = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
            sheet.paste(tile.convert("RGB"), (_LABEL + column * (size + _MARGIN), top))
    return sheet
