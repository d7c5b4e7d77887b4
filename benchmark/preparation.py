"""What has to be there before the first run starts: model names, weights, decoded images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmark import datasets, models, weights
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec


def default_workers(threads: int) -> int:
    """Return how many runs share the machine: on a CPU one a core (cores / threads), on a GPU one.

    Args:
        threads: CPU threads a run.
    """
    if torch.cuda.is_available():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def check_models(specs: Sequence[RunSpec]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the checks of model names, then of weights, each with the matrix key that it is about.

    A check raises UserError where the model is unknown or its weights cannot be had; weights from the hub are
    downloaded by it, once, into the hub's own cache.
    """
    for model in dict.fromkeys(spec.model for spec in specs):
        yield "models", partial(models.check_name, model)
    for model, source in dict.fromkeys((spec.model, spec.weights) for spec in specs):
        if source != "none":
            yield "weights", partial(weights.load, model, source)


def prepare_images(specs: Sequence[RunSpec], data_dir: Path | None, progress: Callable[[str, int, int], None]) -> None:
    """Decode the images that the runs share, once, before any of them starts.

    Args:
        specs: the runs to come.
        data_dir: as given to ``--data-dir``.
        progress: called with (what, done, total) while images are decoded.

    Raises:
        UserError: a dataset that cannot be had.
    """
    for spec in {_decoded(spec): spec for spec in specs}.values():
        datasets.open_dataset(
            spec.source,
            split_seed=spec.split_seed,
            image_size=spec.image_size,
            grey=INPUT_MODES[spec.input_mode].grey,
            data_dir=data_dir,
            seed=spec.seed,
            drop_bad_images=spec.on_bad_image == "drop",
            progress=partial(_named, progress, spec.dataset),
        )


def _decoded(spec: RunSpec) -> tuple[object, ...]:
    """Return what runs must share to use the same images in the same splits."""
    fold = spec.seed if spec.source.is_folder else None
    return spec.source, spec.split_seed, fold, spec.on_bad_image, spec.image_size, INPUT_MODES[spec.input_mode].grey


def _named(progress: Callable[[str, int, int], None], name: str, what: str, done: int, total: int) -> None:
    progress(f"{name}: {what}", done, total)
