"""Drawing of the figures made of images: tiles on a grid, with room for text."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmark.report.figures.draw_charts import MODE_COLOURS, shorten

_SMALL = 6.5
"""Size of the text at a tile, points."""


def modes(data: Any) -> Figure:
    """Draw the network's input, one row per mode, one column per image."""
    span, label, columns = data["span"], 2.9, len(data["examples"])
    figure, axes = _canvas(label + 1.08 * columns, 1.08 * len(data["modes"]) + 0.3, inches=0.92)
    for column, example in enumerate(data["examples"]):
        axes.text(
            label + 1.08 * column + 0.5, 0.16, shorten(example["class"], 16), ha="center", va="center", fontsize=7
        )
    for row, mode in enumerate(data["modes"]):
        top = 0.3 + 1.08 * row
        axes.text(
            0, top + 0.14, mode["name"], color=MODE_COLOURS[mode["name"]], fontsize=9, fontweight="bold", va="top"
        )
        for line, text in enumerate(mode["lines"]):
            axes.text(0, top + 0.4 + 0.19 * line, text, fontsize=_SMALL, va="top")
        for column, example in enumerate(data["examples"]):
            pixels = _pixels(example["grey" if mode["grey"] else "colour"])
            given = (pixels[..., : len(mode["mean"])] / 255 - np.array(mode["mean"])) / np.array(mode["std"])
            _tile(axes, label + 1.08 * column, top, np.clip((given + span) / (2 * span), 0, 1))
    return figure


def hardest(data: Any) -> Figure:
    """Draw rows of test images, each with its class and the answers on it."""
    pitch, row_height = 1.45, 1.95
    columns = max(len(row["images"]) for row in data)
    figure, axes = _canvas(max(pitch * columns, 4.6), row_height * len(data), inches=0.95)
    for r, row in enumerate(data):
        top = row_height * r
        axes.text(0, top + 0.12, row["title"], va="center", fontsize=8, fontweight="bold")
        for column, image in enumerate(row["images"]):
            left = pitch * column
            _tile(axes, left, top + 0.27, _pixels(image["jpeg"]) / 255)
            for line, text in enumerate(image["lines"]):
                axes.text(left, top + 1.31 + 0.16 * line, shorten(text, 24), va="top", fontsize=_SMALL)
    return figure


def _canvas(width: float, height: float, inches: float) -> tuple[Figure, Axes]:
    """Return axes without a frame in which a tile is 1 x 1 and y goes down; ``inches`` is a tile's side."""
    figure = Figure(figsize=(width * inches, height * inches))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _tile(axes: Axes, left: float, top: float, pixels: np.ndarray) -> None:
    """Draw pixels of 0..1, shape (side, side, 1 or 3); one channel is shown as grey."""
    shown = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    axes.imshow(shown, extent=(left, left + 1, top + 1, top), interpolation="nearest", aspect="auto")
    axes.set_autoscale_on(False)


def _pixels(jpeg: str) -> np.ndarray:
    """Return float64, shape (side, side, 3)."""
    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)
