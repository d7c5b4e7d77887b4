"""A pretrained stem's filters as numbers for a picture: what summing its three channels keeps, filter by filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHOWN = 16
"""Filters in a picture, at most."""

DECIMALS = 3
"""Of weights on a scale of -1 to 1; a picture of 8 bits shows no more."""


@dataclass(frozen=True)
class StemFilters:
    """The strongest filters of a first convolution of three channels.

    Attributes:
        positions: which filters of the convolution these are, counted from 0, ascending.
        total: filters that the convolution has.
        weights: float64, shape (n, 3, kernel height, kernel width): W_r, W_g, W_b over the largest absolute value of
            all shown, and so in -1..1, rounded to `DECIMALS`. Their sum over the second axis is the summed stem's.
        scale: that largest absolute value.
        greyness: for each shown filter |sum_c W_c|^2 / (3 sum_c |W_c|^2) over its kernel: 1 where the three channels
            are equal, 0 where they cancel, as in a filter that answers to colour alone (never above 1: Cauchy-Schwarz).
            A filter of zeros counts as 1.
        mean_greyness: the same ratio with both sums over all filters of the convolution: the share of the stem's
            energy that grey images reach.
    """

    positions: tuple[int, ...]
    total: int
    weights: NDArray[np.float64]
    scale: float
    greyness: tuple[float, ...]
    mean_greyness: float


def stem_filters(weight: Tensor, most: int = SHOWN) -> StemFilters:
    """Return what a picture of a stem needs, from the filters with the largest norms (the earlier one of equals).

    Args:
        weight: float, shape (out, 3, kernel height, kernel width), as `benchmark.models.BuiltModel.pretrained_stem`.
        most: filters shown at most.

    Raises:
        ValueError: not the weight of a two-dimensional convolution of three channels.
    """
    if weight.dim() != 4 or weight.shape[1] != 3:
        raise ValueError(f"a stem of three channels has shape (out, 3, kh, kw), not {tuple(weight.shape)}")
    wide = weight.detach().cpu().double()
    energy = wide.square().sum(dim=(1, 2, 3))
    summed = wide.sum(dim=1).square().sum(dim=(1, 2)) / 3
    chosen = torch.argsort(energy, descending=True, stable=True)[:most].sort().values
    shown = wide[chosen]
    scale = float(shown.abs().max()) or 1.0
    return StemFilters(
        positions=tuple(chosen.tolist()),
        total=len(wide),
        weights=np.round((shown / scale).numpy(), DECIMALS),
        scale=scale,
        greyness=tuple(_share(float(summed[k]), float(energy[k])) for k in chosen),
        mean_greyness=_share(float(summed.sum()), float(energy.sum())),
    )


def _share(part: float, whole: float) -> float:
    return round(part / whole, DECIMALS) if whole else 1.0
