"""How fast a dataset is decoded: the project's parallel build against one process with a plain Pillow loop.

    python -m tests.performance.decode_throughput rps --data-dir DIR [--size 224] [--colour] [--rounds 3] [--bound]

Both do the same decode, greying and resize, and end with the same array, which is compared. They take turns, so that a
machine that others use too slows both; the median of the rounds' ratios counts. The build includes verifying
every file's hash, the checksum, and writing the file to disk; the loop keeps its array in memory. Then the time to open
the finished cache is taken. With --bound the same loop takes turns with them in as many bare forks as there are
processors, which share nothing but the result: what the machine allows (POSIX only).
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmark.data.decoding.cache import decoded_images, pixels_file
from benchmark.data.decoding.pool import processors
from benchmark.data.load import open_splits
from benchmark.data.source import DatasetSource
from tests.performance import common


def plain_loop(paths: list[Path], size: int, grey: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the images decoded one after the other, uint8, shape (n, size, size, 1 or 3)."""
    images = np.empty((len(paths), size, size, 1 if grey else 3), np.uint8)
    for row, path in enumerate(paths):
        with Image.open(path) as image:
            resized = image.convert("L" if grey else "RGB").resize((size, size), Image.Resampling.BILINEAR)
        images[row] = np.asarray(resized).reshape(images.shape[1:])
    return images


def forked_loops(paths: list[Path], size: int, grey: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the same, each fork of this process decoding its share of the images."""
    shape = (len(paths), size, size, 1 if grey else 3)
    images = np.frombuffer(mmap.mmap(-1, int(np.prod(shape))), np.uint8).reshape(shape)
    children = []
    for first in range(processors()):
        child = os.fork()
        if child == 0:
            images[first :: processors()] = plain_loop(paths[first :: processors()], size, grey)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, "a fork failed"
    return images


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__, rounds=3)
    parser.add_argument("dataset")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--colour", action="store_true")
    parser.add_argument("--bound", action="store_true")
    options = parser.parse_args()
    grey = not options.colour
    with tempfile.TemporaryDirectory() as cache:
        os.environ["BENCHMARK_CACHE_DIR"] = cache
        source = DatasetSource(name=options.dataset)
        index = open_splits(source, split_seed=0, data_dir=options.data_dir)  # brings the files into the system's cache
        scanned = index.scanned
        files = [(file.path, facts.sha256) for file, facts in zip(scanned.listing.files, scanned.facts, strict=True)]
        loop, build, bound = [], [], []
        for number in range(options.rounds):
            started = time.perf_counter()
            expected = plain_loop([path for path, _ in files], options.size, grey)
            loop.append(time.perf_counter() - started)
            name = f"round{number}"
            started = time.perf_counter()
            images = decoded_images(name, index.content, files, size=options.size, grey=grey, reading=source.reading)
            build.append(time.perf_counter() - started)
            assert (images == expected).all(), "the two do not agree"
            if options.bound:
                started = time.perf_counter()
                forked = forked_loops([path for path, _ in files], options.size, grey)
                bound.append(time.perf_counter() - started)
                assert (forked == expected).all(), "the forks do not agree"
                del forked
            if number + 1 < options.rounds:  # or its way to the disk would slow the next round, as would freeing these
                pixels_file(name, index.content, options.size, grey).unlink()
                del images, expected
        started = time.perf_counter()
        content = open_splits(source, split_seed=0, data_dir=options.data_dir).content
        decoded_images(name, content, files, size=options.size, grey=grey, reading=source.reading)
        opened = time.perf_counter() - started
    rows = [
        {"ratio": plain / ours, "plain loop, s": plain, "build, s": ours}
        for plain, ours in zip(loop, build, strict=True)
    ]
    allowed = [plain / bare for plain, bare in zip(loop, bound, strict=False)]
    common.conclude(
        f"{len(files)} images of {options.dataset} decoded to {options.size} px, {'grey' if grey else 'RGB'}",
        median(row["ratio"] for row in rows),
        ">= 1.8 by two processes",
        rows,
        processors=processors(),
        opening_seconds=round(opened, 3),
        **({"bare_forks_ratio": common.spread(allowed)} if bound else {}),
    )


if __name__ == "__main__":
    main()
