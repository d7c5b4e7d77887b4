"""What can stop a matrix's runs beside their images: precision, models, weights, memory and disk. See `preflight`."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from benchmark import models, preparation, weights
from benchmark.batches import Normaliser, SplitImages
from benchmark.datasets.prepared import PreparedDataset
from benchmark.errors import UserError
from benchmark.executors.beside import Progress
from benchmark.freezing import set_modes, set_trainable
from benchmark.gpus import most_on_one
from benchmark.heads import HeadInit
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec
from benchmark.policies import Stage
from benchmark.precision import check_precision
from benchmark.preflight import Checked, Problem, decoded
from benchmark.run_context import open_images
from benchmark.runs import choose_device, head_init

COPIES_OF_THE_WEIGHTS = 8
"""Of every trained run in memory, at most: weights, gradients, Adam's two moments, the chosen epoch's, and a checkpoint
being written (weights, two moments)."""

IN_A_CHECKPOINT = 4
"""Copies of the weights in a checkpoint: weights, Adam's two moments, the chosen epoch's."""

MEGABYTE = 1 << 20


def check_networks(
    specs: Sequence[RunSpec],
    data_dir: Path | None,
    classes: Mapping[Hashable, tuple[str, ...]],
    results: Path,
    *,
    workers: int,
    keeps_weights: bool,
    progress: Progress,
) -> tuple[tuple[Problem, ...], tuple[Problem, ...], tuple[Checked, ...]]:
    """Check every distinct precision, model, weights and way to train of some runs, and what room they need.

    Args:
        specs: the runs to come.
        data_dir: as given to ``--data-dir``.
        classes: of the images that are in order and decoded, by `decoded`.
        results: folder that the runs write to.
        workers: runs at a time.
        keeps_weights: whether the weights of every run are kept.
        progress: called with (what, done, total).

    Returns:
        The problems of precisions, models and weights by themselves; those of networks with images, of memory and
        disk; what is in order.
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
    by_themselves = len(problems)

    networks: dict[tuple[object, ...], dict[tuple[Stage, ...], RunSpec]] = {}
    for spec in specs:
        usable = spec.model not in bad_models and (spec.model, spec.weights) not in bad_weights
        if usable and decoded(spec) in classes:
            of_images = classes[decoded(spec)]
            network = (spec.model, spec.input_mode, spec.weights, str(spec.head_init), spec.input_size, of_images)
            networks.setdefault(network, {}).setdefault(spec.stages, spec)
    checked: list[Checked] = []
    images: dict[Hashable, PreparedDataset] = {}
    for number, policies in enumerate(networks.values()):
        progress("networks", number, len(networks))
        first = next(iter(policies.values()))
        if decoded(first) not in images:
            images[decoded(first)] = open_images(first, data_dir)
        with noting("models"):
            checked.extend(_check_network(tuple(policies.values()), images[decoded(first)]))
    progress("networks", len(networks), len(networks))

    problems.extend(_memory(checked, workers, len(preparation.gpus())))
    problems.extend(_disk(checked, results, workers, len(specs) if keeps_weights else 0))
    return tuple(problems[:by_themselves]), tuple(problems[by_themselves:]), tuple(checked)


def _check_network(policies: Sequence[RunSpec], data: PreparedDataset) -> Iterator[Checked]:
    """Build a network as runs will, and take two of its images through every stage of each policy.

    Args:
        policies: runs of this network, one a policy.
        data: their images.

    Raises:
        UserError: the network cannot be built for these images and classes, or a stage trains nothing it could.
    """
    spec = policies[0]
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
