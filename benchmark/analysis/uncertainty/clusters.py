"""Groups of test images, such as frames of a clip, images of one patient, near-duplicates: the units of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """A partition of images into groups.

    Attributes:
        of_image: int64, shape (images,): 0..groups-1.
        sizes: int64, shape (groups,): images of each group.
    """

    of_image: np.ndarray
    sizes: np.ndarray

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def effective(self) -> float:
        """Number of groups of equal size that would give the variance as precisely (see `design`)."""
        return effective_number(self.sizes)


def as_groups(codes: np.ndarray | None) -> Groups | None:
    """Return groups from integers that are equal for images of one group, shape (images,), or None if all differ."""
    if codes is None:
        return None
    _, of_image, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    return None if len(sizes) == len(codes) else Groups(of_image.astype(np.int64), sizes.astype(np.int64))


def effective_number(sizes: np.ndarray) -> float:
    """Return the effective number of groups of some sizes (see `design`)."""
    wide = [int(size) for size in sizes]
    return sum(n**2 for n in wide) ** 2 / sum(n**4 for n in wide)
