"""Everything that can stop a matrix, looked at before its first epoch and told all at once. Trains nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from benchmark import datasets, models, preparation, weights
from benchmark.batches import Normaliser, SplitImages
from benchmark.datasets.prepared import PreparedDataset, Split
from benchmark.errors import UserError
from benchmark.freezing import set_modes, set_trainable
from benchmark.gpus import most_on_one
from benchmark.heads import HeadInit
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec
from benchmark.policies import Stage
from benchmark.precision import check_precision
from benchmark.runs import choose_device, head_init

Progress = Callable[[str, int, int], None]

COPIES_OF_THE_WEIGHTS = 8
"""Of every trained run in memory, at most: weights, gradients, Adam's two moments, the chosen epoch's, and a checkpoint
being written (weights, two moments)."""

IN_A_CHECKPOINT = 4
"""Copies of the weights in a checkpoint: weights, Adam's two moments, the chosen epoch's."""

MEGABYTE = 1 << 20


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
    """

    problems: tuple[Problem, ...]
    checked: tuple[Checked, ...]
    test_groups: Mapping[str, Mapping[str, str]]


def preflight(
    specs: Sequence[RunSpec],
    data_dir: Path | None,
    results: Path,
    *,
    workers: int,
    keeps_weights: bool,
    progress: Progress,
) -> Preflight:
    """Check every distinct dataset, model and way to train of some runs, with their images and weights at hand.

    Images that are not there are fetched and decoded, weights from the hub downloaded, once, as the runs need them.

    Args:
        specs: the runs to come.
        data_dir: as given to ``--data-dir``.
        results: folder that the runs write to.
        workers: runs at a time.
        keeps_weights: whether the weights of every run are kept.
        progress: called with (what, done, total).
    """
    problems: list[Problem] = []
    torch.set_num_threads(1)  # two images at a time: more threads would only wait for each other

    @contextmanager
    def noting(key: str) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            problems.append(Problem(key, str(error)))

    for precision in dict.fromkeys(spec.precision for spec in specs):
        with noting("training"):
            check_precision(precision, choose_device())
    bad_models = set()
    for model in dict.fromkeys(spec.model for spec in specs):
        before = len(problems)
        with noting("models"):
            models.check_name(model)
        if len(problems) > before:
            bad_models.add(model)
    bad_weights = set()
    for model, source in dict.fromkeys((spec.model, spec.weights) for spec in specs):
        if source != "none" and model not in bad_models:
            before = len(problems)
            with noting("weights"):
                weights.load(model, source)
            if len(problems) > before:
                bad_weights.add((model, source))

    opened: dict[tuple[object, ...], PreparedDataset] = {}
    groups: dict[str, Mapping[str, str]] = {}
    for key, spec in {_decoded(spec): spec for spec in specs}.items():
        with noting("datasets"):
            data = _open(spec, data_dir, progress)
            _refuse_empty_splits(spec, data)
            opened[key] = data
            groups[spec.dataset] = data.test_groups

    networks: dict[tuple[object, ...], dict[tuple[Stage, ...], RunSpec]] = {}
    for spec in specs:
        usable = spec.model not in bad_models and (spec.model, spec.weights) not in bad_weights
        if usable and _decoded(spec) in opened:
            classes = opened[_decoded(spec)].classes
            network = (spec.model, spec.input_mode, spec.weights, str(spec.head_init), spec.input_size, classes)
            networks.setdefault(network, {}).setdefault(spec.stages, spec)
    checked: list[Checked] = []
    for number, policies in enumerate(networks.values()):
        progress("networks", number, len(networks))
        with noting("models"):
            checked.extend(_check_network(tuple(policies.values()), opened))
    progress("networks", len(networks), len(networks))

    problems.extend(_memory(checked, workers, len(preparation.gpus())))
    problems.extend(_disk(checked, results, workers, len(specs) if keeps_weights else 0))
    return Preflight(tuple(dict.fromkeys(problems)), tuple(checked), groups)


def _decoded(spec: RunSpec) -> tuple[object, ...]:
    """Return what runs must share to use the same images in the same splits."""
    fold = spec.seed if spec.source.is_folder else None
    return spec.source, spec.split_seed, fold, spec.on_bad_image, spec.image_size, INPUT_MODES[spec.input_mode].grey


def _open(spec: RunSpec, data_dir: Path | None, progress: Progress) -> PreparedDataset:
    return datasets.open_dataset(
        spec.source,
        split_seed=spec.split_seed,
        image_size=spec.image_size,
        grey=INPUT_MODES[spec.input_mode].grey,
        data_dir=data_dir,
        seed=spec.seed,
        drop_bad_images=spec.on_bad_image == "drop",
        progress=partial(_named, progress, spec.dataset),
    )


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


def _check_network(
    policies: Sequence[RunSpec], opened: Mapping[tuple[object, ...], PreparedDataset]
) -> Iterator[Checked]:
    """Build a network as runs will, and take two of its images through every stage of each policy.

    Args:
        policies: runs of this network, one a policy.
        opened: the images, by `_decoded`.

    Raises:
        UserError: the network cannot be built for these images and classes, or a stage trains nothing it could.
    """
    spec = policies[0]
    data = opened[_decoded(spec)]
    initial: HeadInit = head_init(spec, data.classes)
    built = models.build(
        spec.model,
        INPUT_MODES[spec.input_mode],
        classes=len(data.classes),
        source=spec.weights,
        seed=spec.seed,
        head_init=initial,
        image_size=spec.input_size,
    )
    where = f"{spec.model}, {spec.input_mode} on {spec.dataset}"
    first = None if built.stem is None else built.network.get_submodule(built.stem)
    channels = first.in_channels if isinstance(first, nn.Conv2d) else INPUT_MODES[spec.input_mode].channels
    if not len(built.mean) == len(built.std) == channels:
        raise UserError(
            f"{where}: {len(built.mean)} means and {len(built.std)} stds for a first convolution of {channels}."
        )
    device = torch.device("cpu")
    shown = SplitImages(data.images, data.train, Normaliser(built.mean, built.std, device), device, spec.crop_size)
    images, _ = shown.__getitems__(list(range(min(2, len(data.train)))))
    if images.shape[1] != channels:
        raise UserError(f"{where}: a batch has {images.shape[1]} channels, the first convolution takes {channels}.")
    size = sum(parameter.numel() * parameter.element_size() for parameter in built.network.parameters())
    for policy in policies:
        trainable, activations = [], 0
        for stage in policy.stages:
            parameters = set_trainable(built.network, stage.trainable)
            set_modes(built.network, stage.trainable, stage.batch_norm)
            trainable.append(sum(parameter.numel() for parameter in parameters))
            try:
                kept, logits = _kept_for_backward(built.network, images)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception as error:  # a library's network may raise anything
                raise UserError(
                    f"{where}: {policy.policy} cannot take two images through the network in training "
                    f"({type(error).__name__}: {error})."
                ) from error
            activations = max(activations, kept * spec.batch_size // len(images))
            if logits.shape != (len(images), len(data.classes)):
                raise UserError(f"{where}: gives {tuple(logits.shape)}, not one logit for each image and class.")
        memory = COPIES_OF_THE_WEIGHTS * size + activations
        yield Checked(spec.model, spec.input_mode, policy.policy, len(data.classes), tuple(trainable), memory)


def _kept_for_backward(network: nn.Module, images: Tensor) -> tuple[int, Tensor]:
    """Return the bytes that a forward pass keeps for its backward pass, parameters left out, and its logits."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits: Tensor = network(images)
    return sum(kept.values()), logits


def _memory(checked: Iterable[Checked], workers: int, gpus: int) -> Iterator[Problem]:
    """Compare what the runs that share memory take with what is free: those on one GPU, without any all of them."""
    together = most_on_one(workers, gpus)
    needed = max((each.memory for each in checked), default=0) * together
    if gpus:
        free = min(torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count()))
        where, instead = "on the fullest GPU", "--workers or --runs-per-gpu"
    else:
        free, where, instead = psutil.virtual_memory().available, "in this machine", "--workers"
    if needed > free:
        yield Problem(
            "training",
            f"{together} runs at a time need about {needed // MEGABYTE:,} MB, {free // MEGABYTE:,} MB are free "
            f"{where}: lower training.batch_size or {instead}.",
        )


def _disk(checked: Sequence[Checked], results: Path, workers: int, kept: int) -> Iterator[Problem]:
    largest = max((each.memory for each in checked), default=0)
    weights_of_one = max((max(each.trainable) * 4 for each in checked), default=0)
    needed = min(largest, IN_A_CHECKPOINT * weights_of_one) * workers + kept * weights_of_one
    folder = next(parent for parent in (results, *results.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        yield Problem(
            "keep_weights" if kept else "name",
            f"checkpoints and kept weights need about {needed // MEGABYTE:,} MB, {free // MEGABYTE:,} MB are free in "
            f"{folder}: free some, or give another folder with --results.",
        )
