"""Checks before the first epoch: datasets, names, weights, and each network with each policy. Trains nothing.

Images are checked in this process, which does not import torch, and networks in another one, by `check_networks`.
Memory and disk use are not estimated: a run out of memory is recorded as ``oom``, and writing to a full disk is
reported.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.data.dataset import check_splits
from benchmark.errors import UserError
from benchmark.execution import forkserver
from benchmark.execution.side_process import Progress, call_in_side_process
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.context import load_run_images
from benchmark.words import count

if TYPE_CHECKING:
    from benchmark.data.dataset import PreparedDataset
    from benchmark.matrix.policies import Stage

_OF_ONE = " Its batches have one image: increase training.batch_size (or limit, if there is only one training image)."


class Problem(NamedTuple):
    """A reason why runs would fail or be worthless, with the top-level key of the matrix to change."""

    key: str
    message: str


class CheckedNetwork(NamedTuple):
    """A network at an image size with a policy that can train it, and the number of trained parameters per stage."""

    model: str
    image_size: int
    input_mode: str
    policy: str
    classes: int
    trainable: tuple[int, ...]


@dataclass(frozen=True)
class Preflight:
    """Findings about some runs.

    Attributes:
        problems: problems to fix before the runs start.
        checked: networks and policies without a problem.
        test_groups: fingerprint of a dataset -> image id -> name of its group.
        gpus: names of this machine's GPUs.
    """

    problems: tuple[Problem, ...]
    checked: tuple[CheckedNetwork, ...]
    test_groups: Mapping[str, Mapping[str, str]]
    gpus: tuple[str, ...]

    def messages(self, place: Callable[[str], str]) -> list[str]:
        """Return one line per problem.

        Args:
            place: returns where a top-level key of the matrix was given: a line of a file, or ``--set``.
        """
        return [f"{place(each.key)}: {each.key}: {each.message}" for each in self.problems]

    def raise_problems(self, place: Callable[[str], str]) -> None:
        """Raise one error with all `messages`, if there are any.

        Raises:
            UserError: there are problems.
        """
        if self.problems:
            raise UserError("\n".join(self.messages(place)))


def preflight(
    specs: Sequence[RunSpec],
    data_dir: Path | None,
    progress: Progress,
    images_ready: Callable[[], None] = lambda: None,
    *,
    same_images: bool = False,
) -> Preflight:
    """Check every distinct dataset, model and policy of some runs.

    Missing images are downloaded and decoded, and missing weights downloaded, once for all runs. At the same time, the
    process from which workers are forked imports the libraries.

    Args:
        specs: the runs.
        data_dir: value of ``--data-dir``.
        progress: called with (what, done, total).
        images_ready: called when all images are available, before networks are checked.
        same_images: whether all seeds must have the same test images, which is not so in a cross-validation.
    """
    forkserver.start_importing()
    problems: list[Problem] = []
    classes: dict[Hashable, tuple[str, ...]] = {}
    groups: dict[str, Mapping[str, str]] = {}
    for key, spec in {images_key(spec): spec for spec in specs}.items():
        try:
            data = load_run_images(spec, data_dir, partial(_report, progress, spec.dataset))
            check_splits(spec.dataset, data)
        except UserError as error:
            problems.append(Problem("datasets", str(error)))
        else:
            if same_images and data.folds is not None:
                message = f"{spec.dataset} is evaluated by folds, one for each seed: give a list of seeds"
                problems.append(Problem("seeds", message))
            classes[key] = data.classes
            groups[data.fingerprint] = data.test_groups
    if not problems:
        images_ready()
    of_networks, checked, gpus = call_in_side_process(check_networks, specs, data_dir, classes, progress=progress)
    return Preflight(tuple(dict.fromkeys([*problems, *of_networks])), checked, groups, gpus)


def images_key(spec: RunSpec) -> Hashable:
    """Return a key shared by all runs with the same images in the same splits."""
    splits = (spec.source, spec.split_seed, spec.evaluation, spec.fold, spec.on_bad_image, spec.on_leak)
    return *splits, spec.image_size, INPUT_MODES[spec.input_mode].grey


def check_networks(
    specs: Sequence[RunSpec], data_dir: Path | None, classes: Mapping[Hashable, tuple[str, ...]], *, progress: Progress
) -> tuple[tuple[Problem, ...], tuple[CheckedNetwork, ...], tuple[str, ...]]:
    """Check every distinct precision, model, weights and policy of some runs. Imports torch.

    Args:
        specs: the runs.
        data_dir: value of ``--data-dir``.
        classes: class names of the usable datasets, by `images_key`; networks are built only for these.
        progress: called with (what, done, total).

    Returns:
        The problems, the networks and policies without problems, and the names of this machine's GPUs.
    """
    import torch

    from benchmark.execution import gpus
    from benchmark.networks import weights
    from benchmark.networks.libraries.find import find_architecture
    from benchmark.training.devices import check_precision, choose_device

    torch.set_num_threads(1)  # more threads are slower for two images
    problems: list[Problem] = []

    def passes(key: str, check: Callable[[], object]) -> bool:
        try:
            check()
        except UserError as error:
            problems.append(Problem(key, str(error)))
            return False
        return True

    for precision in dict.fromkeys(spec.precision for spec in specs):
        passes("training", partial(check_precision, precision, choose_device()))
    named = dict.fromkeys(spec.model for spec in specs)
    known = {model for model in named if passes("models", partial(find_architecture, model))}
    usable = {
        (model, source)
        for model, source in dict.fromkeys((spec.model, spec.weights) for spec in specs)
        if model in known and (source == "none" or passes("weights", partial(weights.load, model, source)))
    }
    networks: dict[tuple[object, ...], dict[tuple[tuple[Stage, ...], bool], RunSpec]] = {}
    for spec in specs:
        if (spec.model, spec.weights) in usable and images_key(spec) in classes:
            of_images = classes[images_key(spec)]
            built = spec.model, spec.backbone, spec.input_mode, spec.weights, str(spec.head_init), spec.image_size
            network = (*built, of_images)
            networks.setdefault(network, {}).setdefault((spec.stages, spec.recalibrate), spec)
    checked: list[CheckedNetwork] = []
    images: dict[Hashable, PreparedDataset] = {}
    for number, policies in enumerate(networks.values()):
        progress("networks", number, len(networks))
        runs = tuple(policies.values())
        key = images_key(runs[0])
        if key not in images:
            images[key] = load_run_images(runs[0], data_dir)
        passes("models", partial(checked.extend, _check_network(runs, images[key])))
    progress("networks", len(networks), len(networks))
    return tuple(problems), tuple(checked), gpus.list_gpus()


def _check_network(runs: Sequence[RunSpec], data: PreparedDataset) -> Iterator[CheckedNetwork]:
    """Build a network as its runs do, and run two images, or a batch of one, through each policy's stages.

    Args:
        runs: one run of this network per policy.
        data: images of the runs.

    Raises:
        UserError: the network cannot be built for these images and classes, or a stage cannot train it.
    """
    import torch

    from benchmark.networks.freezing import set_modes, set_trainable
    from benchmark.training.batches import EpochBatches, Normaliser, SplitImages, derive_of
    from benchmark.training.recalibration import running_norms
    from benchmark.training.run import build_network

    spec = runs[0]
    built = build_network(spec, data.classes)
    where = f"{spec.model}, {spec.input_mode} on {spec.dataset} at {spec.image_size} px"
    first = None if built.stem is None else built.network.get_submodule(built.stem)
    channels = first.in_channels if isinstance(first, torch.nn.Conv2d) else INPUT_MODES[spec.input_mode].channels
    if not len(built.mean) == len(built.std) == channels:
        raise UserError(
            f"{where}: {len(built.mean)} means and {len(built.std)} stds for a first convolution of {channels}."
        )
    device = torch.device("cpu")
    normaliser = Normaliser(built.mean, built.std, device)
    shown = SplitImages(data.images, data.train, normaliser, device, spec.crop_size, derive=derive_of(spec))
    for run in runs:
        trainable = []
        if run.recalibrate:
            running_norms(built.network, run)
        smallest = min(map(len, EpochBatches(len(data.train), run.batch_size, run.seed)))
        images, _ = shown.__getitems__(list(range(min(2, smallest))))
        for stage in run.stages:
            parameters = set_trainable(built.network, stage.trainable)
            set_modes(built.network, stage.trainable, stage.batch_norm)
            trainable.append(sum(parameter.numel() for parameter in parameters))
            try:
                logits = built.network(images)
            except Exception as error:  # a library's network may raise anything
                raise UserError(
                    f"{where}: with {run.policy}, {count(len(images), 'image')} cannot be passed through the network "
                    f"in training ({type(error).__name__}: {error}).{_OF_ONE if len(images) == 1 else ''}"
                ) from error
            if logits.shape != (len(images), len(data.classes)):
                raise UserError(f"{where}: output of shape {tuple(logits.shape)}, not one logit per image and class.")
        yield CheckedNetwork(*spec.cell.setup, spec.input_mode, run.policy, len(data.classes), tuple(trainable))


def _report(progress: Progress, dataset: str, what: str, done: int, total: int) -> None:
    progress(f"{dataset}: {what}", done, total)
