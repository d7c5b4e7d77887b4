"""Contact sheets: images of a dataset in each input mode, or one image with each augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.decoding.derived import derive
from benchmark.data.decoding.pixels import BadImage, read_file, to_array, to_image
from benchmark.data.listing import Listing
from benchmark.data.value_range import Reading
from benchmark.errors import UserError
from benchmark.matrix.augmentations import AUGMENTATIONS, Step, parse
from benchmark.matrix.input_modes import DEFAULT_MAP, INPUT_MODES
from benchmark.seeding import derive_seed
from benchmark.training.augment import augment

_MARGIN = 4
_LINE = 16
_LABEL = 150
_MOST_CLASSES = 12
Pixels = NDArray[np.uint8]


def draw_contact_sheet(
    listing: Listing,
    *,
    reading: Reading,
    modes: Sequence[str],
    size: int,
    columns: int,
    steps: Sequence[Step] = (),
    colormap: str = DEFAULT_MAP,
    seed: int = 0,
) -> Image.Image:
    """Draw images as the network sees them, before normalisation, in one row per class and input mode.

    Args:
        listing: files of the dataset; at most a dozen classes are shown, evenly spaced among all classes.
        reading: how files are decoded.
        modes: keys of `INPUT_MODES`, each shown with the same images.
        size: side after resizing, pixels.
        columns: images per row.
        steps: augmentations, applied after conversion to grey as in a run.
        colormap: colormap of the mode ``colormap``.
        seed: seed of the choice of images and of the augmentations.

    Raises:
        UserError: a chosen image cannot be decoded.
    """
    rows = []
    shown = np.unique(np.linspace(0, len(listing.classes) - 1, _MOST_CLASSES).round().astype(int)).tolist()
    for label in shown:
        of_class = [file.path for file in listing.files if file.label == label]
        rng = np.random.default_rng(derive_seed(seed, "contact sheet", label))
        chosen = [of_class[k] for k in sorted(rng.permutation(len(of_class))[:columns].tolist())]
        for mode in modes:
            how = INPUT_MODES[mode]
            images = np.stack([_decode(path, reading, size, how.grey) for path in chosen])
            if how.derived is not None:
                images = derive(how.derived, colormap)(images)
            rows.append((f"{listing.classes[label]}\n{mode}", list(_augment(images, steps, seed))))
    return _draw(rows, size)


def draw_gallery(listing: Listing, *, reading: Reading, size: int, columns: int, seed: int = 0) -> Image.Image:
    """Draw one row per augmentation with its default values: an image unchanged, then augmented with several seeds.

    Probabilities are set to 1, as the captions say. For the arguments see `draw_contact_sheet`.

    Raises:
        UserError: the chosen image cannot be decoded.
    """
    file = listing.files[derive_seed(seed, "gallery") % len(listing.files)]
    original = _decode(file.path, reading, size, grey=False)
    rows = []
    for name, parameters in AUGMENTATIONS.items():
        step = parse({name: {"probability": 1} if "probability" in parameters else {}})
        treated = _augment(np.stack([original] * (columns - 1)), [step], seed)
        values = ", ".join(f"{key} {value:g}" for key, value in step.parameters)
        rows.append((f"{name}\n{values}", [original, *treated]))
    return _draw(rows, size)


def _decode(path: Path, reading: Reading, size: int, grey: bool) -> Pixels:
    try:
        decoded = read_file(path.read_bytes(), frames=reading.frames)
        return to_array(to_image(decoded, reading.windows, clip=reading.clip), size, grey)
    except (BadImage, OSError) as error:
        raise UserError(f"{path}: {error}") from None


def _augment(images: Pixels, steps: Sequence[Step], seed: int) -> Pixels:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    seeds = [derive_seed(seed, "sheet", index) for index in range(len(images))]
    try:
        result: Pixels = augment(batch, steps, seeds).permute(0, 2, 3, 1).numpy()
    except ValueError as error:
        raise UserError(f"{error}; name a colour --mode, or another augmentation.") from None
    return result


def _draw(rows: Sequence[tuple[str, list[Pixels]]], size: int) -> Image.Image:
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
