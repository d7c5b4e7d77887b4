"""Class probabilities of image files by a trained run. Files that are not images are reported and skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.decoding.pixels import BadImage
from benchmark.data.decoding.pool import processors
from benchmark.data.listing import files_below
from benchmark.trained.restore import DecodedImage, TrainedRun
from benchmark.training.batches import EVALUATION_BATCHES


@dataclass(frozen=True)
class Prediction:
    """Result for one file.

    Attributes:
        path: as given, or below the given folder.
        probabilities: float32, shape (classes,), or None if the file cannot be used.
        problem: the reason why it cannot be used, or None.
        clipped: see `restore.DecodedImage`.
    """

    path: Path
    probabilities: NDArray[np.float32] | None = None
    problem: str | None = None
    clipped: int = 0


def list_images(given: Sequence[Path]) -> Iterator[Path]:
    """Yield the files to predict: each given file, and all files below a given folder that are not hidden."""
    for path in given:
        yield from (file.path for file in files_below(path)) if path.is_dir() else (path,)


def predict(run: TrainedRun, paths: Iterable[Path]) -> Iterator[Prediction]:
    """Yield one prediction per file, in the given order, with a few hundred images in memory at a time."""

    def decode(path: Path) -> DecodedImage | str:
        if path.exists() and not path.is_file():
            return "is not a file"
        try:
            return run.decode(path.read_bytes())
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except BadImage as error:
            return str(error)

    left = iter(paths)
    with ThreadPoolExecutor(processors()) as threads:
        while chunk := list(islice(left, EVALUATION_BATCHES[run.device.type])):
            decoded = list(threads.map(decode, chunk))
            good = [each.pixels for each in decoded if not isinstance(each, str)]
            shares = iter(run.probabilities(np.stack(good)) if good else ())
            for path, each in zip(chunk, decoded, strict=True):
                if isinstance(each, str):
                    yield Prediction(path, problem=each)
                else:
                    yield Prediction(path, next(shares), clipped=each.clipped)
