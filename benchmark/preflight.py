"""Everything that can stop a matrix, looked at before its first epoch and told all at once. Trains nothing.

Images are looked at in this process, which loads no torch; networks, meanwhile or then, where torch is: see
`benchmark.network_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import preparation
from benchmark.errors import UserError
from benchmark.executors.beside import Beside, Progress
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec
from benchmark.run_context import open_images

if TYPE_CHECKING:
    from benchmark.datasets.prepared import PreparedDataset, Split


@dataclass(frozen=True)
class Problem:
    """What would stop runs, or make them worthless.

    Attributes:
        key: the matrix's top-level key to change.
        message: what is wrong, and for which part of the matrix.
    """

    key: str
    message: str


@dataclass(frozen=True)
class Checked:
    """One way to train one network, found in order.

    Attributes:
        model, input_mode, policy: of the matrix.
        classes: outputs of the head.
        trainable: parameters that each stage trains.
        memory: bytes that one run takes at most beside its images: weights, optimizer, activations of a batch.
    """

    model: str
    input_mode: str
    policy: str
    classes: int
    trainable: tuple[int, ...]
    memory: int


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        problems: what must be changed first.
        checked: what is in order.
        test_groups: of each dataset by its title, image id -> name of its group.
        gpus: names of this machine's GPUs.
        workers: runs at a time.
    """

    problems: tuple[Problem, ...]
    checked: tuple[Checked, ...]
    test_groups: Mapping[str, Mapping[str, str]]
    gpus: tuple[str, ...]
    workers: int


def preflight(
    specs: Sequence[RunSpec],
    data_dir: Path | None,
    results: Path,
    *,
    workers: Callable[[int], int],
    keeps_weights: bool,
    beside: Beside,
    progress: Progress,
) -> Preflight:
    """Check every distinct dataset, model and way to train of some runs, with their images and weights at hand.

    Images that are not there are fetched and decoded, weights from the hub downloaded, once, as the runs need them.

    Args:
        specs: the runs to come.
        data_dir: as given to ``--data-dir``.
        results: folder that the runs write to.
        workers: runs at a time, by this machine's number of GPUs.
        keeps_weights: whether the weights of every run are kept.
        beside: calls what needs torch.
        progress: called with (what, done, total).
    """
    of_datasets: list[Problem] = []
    classes: dict[Hashable, tuple[str, ...]] = {}
    groups: dict[str, Mapping[str, str]] = {}
    for key, spec in {decoded(spec): spec for spec in specs}.items():
        try:
            data = open_images(spec, data_dir, partial(_named, progress, spec.dataset))
            _refuse_empty_splits(spec, data)
        except UserError as error:
            of_datasets.append(Problem("datasets", str(error)))
        else:
            classes[key] = data.classes
            groups[spec.dataset] = data.test_groups
    gpus = beside(preparation.gpus)
    number = workers(len(gpus))
    check = partial(_check_networks, workers=number, keeps_weights=keeps_weights)
    before, after, checked = beside(check, specs, data_dir, classes, results, progress=progress)
    return Preflight(tuple(dict.fromkeys([*before, *of_datasets, *after])), checked, groups, gpus, number)


def _check_networks(*arguments: Any, **settings: Any) -> Any:
    """Call `benchmark.network_checks.check_networks`, which imports torch, in the process where this is called."""
    from benchmark.network_checks import check_networks

    return check_networks(*arguments, **settings)


def decoded(spec: RunSpec) -> Hashable:
    """Return what runs must share to use the same images in the same splits."""
    fold = spec.seed if spec.source.is_folder else None
    return spec.source, spec.split_seed, fold, spec.on_bad_image, spec.image_size, INPUT_MODES[spec.input_mode].grey


def _named(progress: Progress, name: str, what: str, done: int, total: int) -> None:
    progress(f"{name}: {what}", done, total)


def _refuse_empty_splits(spec: RunSpec, data: PreparedDataset) -> None:
    splits: dict[str, Split] = {"training": data.train, "validation": data.validation, "test": data.test}
    for name, split in splits.items():
        if not len(split):
            raise UserError(f"{spec.dataset}: its {name} split is empty.")
        absent = [data.classes[k] for k in sorted(set(range(len(data.classes))) - set(split.labels.tolist()))]
        if absent:
            raise UserError(
                f"{spec.dataset}: its {name} split of {len(split)} images has none of {_listed(absent)}; "
                "leave these classes out with classes, or raise limit."
            )


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more classes"
