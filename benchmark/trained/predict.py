"""Class probabilities of image files by a trained run; files that are not images are named, the others predicted."""

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
from benchmark.trained.restore import Decoded, TrainedRun
from benchmark.training.batches import EVALUATION_BATCHES


@dataclass(frozen=True)
class Prediction:
    """Result for one file.

    Attributes:
        path: as given, or below the folder that was given.
        probabilities: float32, shape (classes,), or None if the file is bad.
        problem: the reason why it is bad, or None.
        clipped: see `restore.Decoded`.
    """

    path: Path
    probabilities: NDArray[np.float32] | None = None
    problem: str | None = None
    clipped: int = 0


def list_images(given: Sequence[Path]) -> Iterator[Path]:
    """Yield the files to predict: each file as given, and of a folder everything below it that is not hidden."""
    for path in given:
        yield from (file.path for file in files_below(path)) if path.is_dir() else (path,)


def predict(run: TrainedRun, paths: Iterable[Path]) -> Iterator[Prediction]:
    """Yield one prediction per file, in the order given; a few hundred images are in memory at a time."""

    def decode(path: Path) -> Decoded | str:
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
