"""Expected times of runs: from similar done runs, else scaled from other runs, else from a reference rate."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, log
from pathlib import Path
from statistics import median, median_high, median_low
from typing import Literal, NamedTuple

from benchmark import environment
from benchmark.data.catalogue import CATALOGUE, SplitName
from benchmark.data.folders import list_folder
from benchmark.data.source import DatasetSource
from benchmark.data.splits.rules import FOLDS, FRACTION, Evaluation, count_limited_validation, uses_folds
from benchmark.execution.gpus import default_workers, visible_gpus
from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.matrix.tuning import group
from benchmark.records.plan import Plan, PlannedRun, State
from benchmark.records.record import Environment, FinishedRun
from benchmark.records.selection import Selection
from benchmark.words import duration

Device = Literal["cpu", "gpu"]

NVIDIA = Path("/proc/driver/nvidia/gpus")
"""Folder of NVIDIA's driver on Linux with one folder per GPU; importing torch to count GPUs would take seconds."""

STEPS = {"all": 1.0, "later-half": 0.67, "head+norms": 0.67, "head": 0.25}
"""Time to train on one image, by trained part, relative to a step of the complete network. A backward pass takes about
twice the time of a forward pass, half of it for the gradients of weights, and ends at the first trained layer."""

START = 1.0
"""Seconds to start and end the process of a run."""

EVALUATION = 0.25
"""Time to evaluate one image, relative to a step of the complete network: 0.18 to 0.29 in `REFERENCE_RATES`."""


@dataclass(frozen=True)
class ReferenceRate:
    """Images per second of one run on another machine.

    Attributes:
        network: ``timm/NAME`` or ``torchvision/NAME``, without a tag.
        device: type of the device.
        size: pixels per side, in training and in evaluation.
        train: images per second in training steps of the complete network.
        evaluate: images per second in evaluation.
        source: origin of the rates, in words.
    """

    network: str
    device: Device
    size: tuple[int, int]
    train: float
    evaluate: float
    source: str


REFERENCE_RATES = (
    ReferenceRate("timm/resnetrs50", "gpu", (160, 224), 1686, 2945, "an RTX 3090, published by timm"),
    ReferenceRate("timm/tf_efficientnet_lite0", "cpu", (64, 64), 124.4, 674.2, "a core of an AMD EPYC, our results"),
    ReferenceRate("timm/tf_efficientnet_lite0", "cpu", (96, 96), 74.0, 307.1, "a core of an AMD EPYC, our results"),
)
"""The source of timm's rates is cited in docs/running.md. Ours are medians over the undisturbed runs below ``results/``
at commit 4034d8e that train the complete network in one stage."""


class Images(NamedTuple):
    """Number of images of a dataset per split."""

    train: int
    validation: int
    test: int


class RunTime(NamedTuple):
    """Expected wall time of one run in a worker, seconds, and its basis in words."""

    seconds: float
    basis: str


@dataclass(frozen=True)
class Forecast:
    """Expected times on this machine.

    Attributes:
        times: expected time by run id; runs without a basis are missing.
        workers: number of concurrent runs.
    """

    times: Mapping[str, RunTime]
    workers: int

    def summary(self, runs: Iterable[PlannedRun]) -> str:
        """Return one line with the time until all of these runs are done, and its basis."""
        left = [run.spec for run in runs if run.state != "done"]
        if not left:
            return "forecast: nothing to do"
        unknown = list(dict.fromkeys(spec.model for spec in left if spec.id not in self.times))
        if unknown:
            return f"forecast: unknown until a run is done; no rate of {', '.join(unknown)} is known on this device"
        times = [self.times[spec.id] for spec in left]
        at_a_time = min(self.workers, len(left))
        wall = max(fsum(time.seconds for time in times) / at_a_time, max(time.seconds for time in times))
        bases = "; ".join(dict.fromkeys(time.basis for time in times))
        return f"forecast: {len(left)} runs to do, about {duration(wall)} with {at_a_time} at a time. Basis: {bases}."


def forecast(plan: Plan) -> Forecast:
    """Return the expected times of a plan's runs on this machine.

    Device and number of workers are taken from the newest run done on a machine with this processor, else the defaults.

    Raises:
        UserError: a folder is missing or has an unknown layout.
    """
    specs, cpu = [run.spec for run in plan.all_runs], environment.cpu_name()
    here = [record for record in plan.finished if record.environment.cpu == cpu]
    if here:
        newest = max(here, key=lambda record: record.finished_at).environment
        return Forecast(run_times(specs, plan.finished, _device_class(newest)), newest.workers)
    found = len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0
    gpus = len(visible_gpus(os.environ.get(environment.VISIBLE), found))
    workers = default_workers(gpus, specs[0].threads if specs else 1)
    return Forecast(run_times(specs, plan.finished, "gpu" if gpus else "cpu"), workers)


class ListedRun(NamedTuple):
    """A run as listed by `plan`."""

    id: str | None
    """None while it waits for its learning rate."""
    dataset: str
    input_mode: str
    policy: str
    model: str
    image_size: int
    seed: int
    lr: str | None
    """Chosen learning rate, or that of a tuning run; None before the choice, or if the matrix gives it."""
    seconds: float | None
    """Expected wall time in a worker, or None if there is no basis."""
    state: State


def list_runs(selection: Selection, expected: Forecast) -> list[ListedRun]:
    """Return the selected runs with their learning rates, expected times and states."""
    rates = {choice.group: choice.lr for choice in selection.plan.choices}
    rows = []
    for run in selection.selected:
        spec, time, rate = run.spec, expected.times.get(run.spec.id), rates.get(group(run.spec))
        lr = None if rate is None else f"{rate:g}"
        rows.append(
            ListedRun(
                id=None if run.state == "waiting" else spec.id,
                **{
                    key: getattr(spec, key)
                    for key in ("dataset", "input_mode", "policy", "model", "image_size", "seed")
                },
                lr=str(spec.trial) if spec.trial else lr,
                seconds=time.seconds if time else None,
                state=run.state,
            )
        )
    return rows


def run_times(
    specs: Sequence[RunSpec],
    done: Iterable[FinishedRun],
    device: Device,
    reference_rates: Sequence[ReferenceRate] = REFERENCE_RATES,
) -> dict[str, RunTime]:
    """Return the expected time of each run by its id; runs without a basis are missing.

    It is the median of done runs that differ only in the seed, else the median of other done runs, scaled by the number
    of images x pixels. Runs of the same network and device type are preferred, and among these the nearest image size.
    Without a done run, it is the reference rate of the network and device type at the nearest size.

    Args:
        specs: the runs.
        done: records of this matrix or others.
        device: type of the device that executes the runs.
        reference_rates: rates to take without a done run.
    """
    done = list(done)
    images = _images(specs, done)
    alike: dict[tuple[RunSpec, Device], list[float]] = {}
    paces: dict[tuple[str, Device], dict[int, list[float]]] = {}
    for record in done:
        seconds, on = record.timing.total_seconds, _device_class(record.environment)
        alike.setdefault((_without_seed(record.spec), on), []).append(seconds)
        of_sizes = paces.setdefault((record.spec.model, on), {})
        of_sizes.setdefault(record.spec.input_size, []).append(seconds / _work(record.spec, _recorded_images(record)))
    any_pace = [pace for of_sizes in paces.values() for of_size in of_sizes.values() for pace in of_size]

    def of_run(spec: RunSpec) -> RunTime | None:
        if same := alike.get((_without_seed(spec), device)):
            return RunTime(median(same), "runs that differ only in the seed")
        work = _work(spec, images[spec.source.portable])
        if own := paces.get((spec.model, device)):
            nearest = min(own, key=lambda size: abs(log(size / spec.input_size)))
            return RunTime(median(own[nearest]) * work, "scaled from done runs of this network")
        if any_pace:
            return RunTime(median(any_pace) * work, "scaled from done runs of another network or device")
        network = spec.model.partition(".")[0]
        rates = [rate for rate in reference_rates if (rate.network, rate.device) == (network, device)]
        if not rates:
            return None
        rate = min(rates, key=lambda rate: abs(log(rate.size[0] / spec.input_size)))
        per_train, per_evaluation = 1 / (rate.train * rate.size[0] ** 2), 1 / (rate.evaluate * rate.size[1] ** 2)
        seconds = per_train * _work(spec, images[spec.source.portable], per_evaluation / per_train)
        return RunTime(seconds, f"reference rate, not measured here ({rate.source})")

    return {spec.id: time for spec in specs if (time := of_run(spec)) is not None}


class Pace(NamedTuple):
    """Speed at which this machine trains a network, measured with the number of concurrent runs it executes.

    Attributes:
        pixels: images x pixels per second in training steps of the whole network, per run, after the first epoch.
        overhead: seconds of a run outside training and evaluation, plus the extra time of its first epoch.
    """

    pixels: float
    overhead: float

    @classmethod
    def of(cls, records: Sequence[FinishedRun]) -> Pace:
        """Return the median pace of runs whose last stage trained the whole network; of two runs, the slower one's."""
        paces = []
        for record in records:
            last = len(record.spec.stages)
            first, *later = [e.train_seconds for e in record.history if e.stage == last and e.train_loss is not None]
            seconds = median(later or [first])
            images = record.timing.train_images_per_second * fsum([first, *later]) / (1 + len(later))
            took = record.timing
            overhead = took.total_seconds - took.train_seconds - took.eval_seconds - took.feature_seconds
            paces.append((images * record.spec.input_size**2 / seconds, overhead + first - seconds))
        pixels, overheads = zip(*paces, strict=True)
        return cls(median_low(pixels), median_high(overheads))


def expected_seconds(specs: Sequence[RunSpec], done: Iterable[FinishedRun], pace: Pace, workers: int) -> float:
    """Return the expected wall time of runs at a pace, scaled by images x pixels.

    Args:
        specs: the runs, with the network of the measurement.
        done: records with the images of their datasets.
        pace: measured pace, at any image size.
        workers: number of concurrent runs.
    """
    images = _images(specs, done)
    overhead = pace.overhead + START
    each = [_work(spec, images[spec.source.portable]) / pace.pixels + overhead for spec in specs]
    return max(fsum(each) / workers, *each, 0.0)


def execution_order(runs: Sequence[PlannedRun], done: Iterable[FinishedRun]) -> list[PlannedRun]:
    """Return runs in the order of execution, in which a matrix that is stopped is a balanced one.

    First runs that only train on cached features, which take seconds, then the others, both seed by seed. (Runs that
    differ only in the seed would also wait for each other's features.) Within a seed by decreasing images x pixels, so
    that long runs do not start last; equal runs keep their order.

    Args:
        runs: the runs to order.
        done: records with the images of their datasets.
    """
    images = _images([run.spec for run in runs], done)

    def place(run: PlannedRun) -> tuple[bool, int, float]:
        spec = run.spec
        return not uses_cached_features(spec), spec.seed, -_work(spec, images[spec.source.portable])

    return sorted(runs, key=place)


def uses_cached_features(spec: RunSpec) -> bool:
    """Return whether a run trains on cached features in every stage."""
    return all(stage.keeps_features(spec.augment) for stage in spec.stages)


def estimate_images(source: DatasetSource, evaluation: Evaluation = "split") -> Images:
    """Estimate how many images one run uses, from the dataset's official splits in the catalogue or the folder.

    Raises:
        UserError: the folder is missing or has an unknown layout.
    """
    official: Mapping[SplitName, int]
    if source.is_folder:
        listing = list_folder(source)
        used = source.classes or listing.classes
        official = Counter(file.split or "train" for file in listing.files if listing.classes[file.label] in used)
        folds = listing.uses_folds(evaluation)
    else:
        info = CATALOGUE[source.name]
        used = source.classes or info.classes
        share = len(used) / len(info.classes)
        official = {split: round(share * number) for split, number in info.images.items()}
        folds = uses_folds(info.images, evaluation)
    train = official["train"]
    validation, test = official.get("validation"), official.get("test")
    share = FRACTION * train
    if test is None:
        test = round(train / FOLDS if folds else share)
        train -= test
    if validation is None:
        validation = round(FRACTION * train if folds else share)
        train -= validation
    if source.limit is not None and source.limit < train:
        validation = count_limited_validation(source.limit, train, validation, len(used))
        train = source.limit
    return Images(train, validation, test)


def _recorded_images(record: FinishedRun) -> Images:
    return Images(record.dataset.train_images, record.dataset.validation_images, record.dataset.test_images)


def _images(specs: Iterable[RunSpec], done: Iterable[FinishedRun]) -> dict[DatasetSource, Images]:
    images = {record.spec.source.portable: _recorded_images(record) for record in done}
    for source, evaluation in dict.fromkeys((spec.source, spec.evaluation) for spec in specs):
        if source.portable not in images:
            images[source.portable] = estimate_images(source, evaluation)
    return images


def _device_class(environment: Environment) -> Device:
    return "cpu" if environment.device == "cpu" else "gpu"


def _without_seed(spec: RunSpec) -> RunSpec:
    return spec.portable.model_copy(update={"seed": 0, "split_seed": 0})


def _work(spec: RunSpec, images: Images, evaluation: float = EVALUATION) -> float:
    """Return the work of a run that does not stop early, in images x pixels of training steps of the complete network.

    Cached features are computed once for training images, their mirror images, validation and test images; steps and
    evaluations on them take almost no time. The validation split is also evaluated before the first epoch and at the
    end, the test split twice at the end.
    """
    if not spec.sees_test:
        images = images._replace(test=0)

    def passes(stage: Stage) -> float:
        if stage.keeps_features(spec.augment):
            return evaluation * (2 * images.train + images.validation + images.test)
        return stage.epochs * (STEPS[stage.trainable] * images.train + evaluation * images.validation)

    starts, ends = (not spec.stages[place].keeps_features(spec.augment) for place in (0, -1))
    others = starts * images.validation + ends * (images.validation + 2 * images.test)
    return spec.input_size**2 * (sum(map(passes, spec.stages)) + evaluation * others)
