"""The clips of the test images of rock-paper-scissors, where a copy of it has lost the files' names.

    python -m experiments.studies.rps_clips results/cpu --data-dir DIR [--write]

The test split has 124 images per class: 31 frames each of four rendered hands. In the original archive the names
identify the clip, and `run` writes it into ``groups.csv``. Elsewhere near-duplicates find some of the clips only. The
hands differ in colour, so that four clusters of the mean colour of the pixels that are not background (k-means, best of
20 starts) are the clips; the command fails where they do not have 31 images each. ``--write`` adds them to
``groups.csv`` of the results, where it has no groups of this dataset yet.

For each comparison that answers a question it prints the difference and three standard errors in percent points: with
images as units, with the report's units, and of a bootstrap crossed over seeds and clips (4,000 resamples, seed 0;
means over images).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.cluster.vq import kmeans2
from tabulate import tabulate

from benchmark.analysis.contrasts import contrasts
from benchmark.analysis.differences import pair_values, sides
from benchmark.analysis.results import load
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.data.load import open_splits
from benchmark.data.source import DatasetSource
from benchmark.matrix import file
from benchmark.records import groups_file
from benchmark.records.plan import make_plan
from benchmark.records.store import Store

HANDS, FRAMES = 4, 31
BACKGROUND = 170
"""Grey levels that every channel of the white background exceeds."""

RESAMPLES = 4000
STARTS = 20


def mean_colour(path: Path) -> NDArray[np.float64]:
    """Return the mean colour of a hand, float64, shape (3,), grey levels."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((64, 64)), dtype=np.float64).reshape(-1, 3)
    hand: NDArray[np.float64] = pixels[pixels.min(axis=1) < BACKGROUND].mean(axis=0)
    return hand


def clips(data_dir: Path) -> tuple[dict[str, int], str]:
    """Return the clip, 0..11, of each test image by its id, and the dataset's fingerprint."""
    index = open_splits(DatasetSource(name="rps"), split_seed=0, data_dir=data_dir)
    files = index.scanned.listing.files
    found: dict[str, int] = {}
    for label in range(3):
        rows = [row for row, split in enumerate(index.splits) if split == "test" and index.labels[row] == label]
        colours = np.stack([mean_colour(files[row].path) for row in rows])
        fits = [kmeans2(colours, HANDS, seed=start, minit="++") for start in range(STARTS)]
        _, clusters = min(fits, key=lambda fit: float(((colours - fit[0][fit[1]]) ** 2).sum()))
        if np.bincount(clusters, minlength=HANDS).tolist() != [FRAMES] * HANDS:
            raise SystemExit(f"class {label}: the hands' colours do not give {HANDS} clips of {FRAMES} frames")
        found |= {files[row].id: HANDS * label + int(cluster) for row, cluster in zip(rows, clusters, strict=True)}
    return found, index.fingerprint


def by_clips(values: NDArray[np.int64], of_image: NDArray[np.int64]) -> float:
    """Return the standard error of the mean by a bootstrap crossed over seeds and clips.

    Args:
        values: shape (seeds, images).
        of_image: the clip of each image.
    """
    count = int(of_image.max()) + 1
    sums = np.stack([np.bincount(of_image, weights=row, minlength=count) for row in values])
    sizes = np.bincount(of_image, minlength=count)
    draw = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        seeds, chosen = draw.integers(0, len(values), len(values)), draw.integers(0, count, count)
        means.append(sums[np.ix_(seeds, chosen)].sum() / (len(values) * sizes[chosen].sum()))
    return float(np.std(means))


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    of_image, fingerprint = clips(options.data_dir)
    if options.write:
        names = {image: f"hand {clip + 1:02}" for image, clip in of_image.items()}
        if not groups_file.add(options.results, {fingerprint: names}):
            raise SystemExit(f"{options.results / groups_file.FILE} has groups of rps already; nothing is written")
    matrix = file.load(options.results / "matrix.yaml")
    store = Store(options.results)
    results = load(matrix, make_plan(matrix, store), store)
    ids = next(cell for cell in results.by_key.values() if cell.key[0] == "rps").images
    own = np.array([of_image[name] for name in ids])
    rows = []
    for contrast in contrasts(results):
        if contrast.dataset == "rps" and contrast.headline:
            values, _, design, runs = pair_values(sides(contrast, results))
            pairs = len(contrast.pairs)
            by_image = mean_difference(values, replace(design, groups=None), runs, pairs)
            by_group = mean_difference(values, design, runs, pairs)
            errors = by_image.standard_error, by_group.standard_error, by_clips(values, own) / pairs
            numbers = (by_image.mean, *errors)
            rows.append(
                [f"{contrast.first} - {contrast.second}", *(f"{100 * (number or 0.0):.1f}" for number in numbers)]
            )
    header = ["rps", "difference", "error, images", "error, report", "error, bootstrap of clips"]
    sys.stdout.write(tabulate(rows, headers=header, disable_numparse=True) + "\n")


if __name__ == "__main__":
    main()
