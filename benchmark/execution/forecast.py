"""How long runs will take: as done runs like them, else scaled from others, else by a reference rate. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Literal

from benchmark.data.catalogue import CATALOGUE, SplitName
from benchmark.data.source import DatasetSource
from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DatasetRecord, DoneRun, RunRecord

Device = Literal["cpu", "gpu"]

VALIDATION_SHARE = 0.15
"""Of the training images, where a dataset has no validation split (or, about, no test split)."""

_HELD_OUT: tuple[SplitName, ...] = ("validation", "test")

UNKNOWN_IMAGES = 1000
"""Training images assumed for a folder that nothing is known of; only for the order of runs, never for a time."""

STEPS = {"all": 1.0, "later-half": 0.67, "head": 0.25}
"""Time to train one image once, by trained part, relative to a step of the complete network: a backward pass takes
about twice a forward pass, and ends where no earlier layer is trained."""

EVALUATION = 0.25
"""Time to evaluate one image, relative to a step of the complete network: 0.18 to 0.29 in `REFERENCE_RATES`."""


@dataclass(frozen=True)
class ReferenceRate:
    """Images per second that one run reaches elsewhere.

    Attributes:
        network: ``timm/NAME`` or ``torchvision/NAME``, without a tag.
        device: class of the device.
        size: pixels per side, in training and in evaluation.
        train: images per second through training steps of the complete network.
        evaluate: images per second through evaluations.
        source: where the rates come from.
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
"""timm's rates are those that the README cites; ours are medians over the undisturbed runs below ``results/`` that
train the complete network in one stage."""


@dataclass(frozen=True)
class ImageCount:
    """Images of a dataset: in training, and in validation and test together."""

    train: int
    held_out: int

    @staticmethod
    def of(dataset: DatasetRecord) -> ImageCount:
        """Return the counts of a record."""
        return ImageCount(dataset.train_images, dataset.validation_images + dataset.test_images)


@dataclass(frozen=True)
class Work:
    """What a run computes, if it does not stop early, in images x pixels.

    Attributes:
        train: through training steps, in steps of the complete network (`STEPS`).
        evaluate: through evaluations.
    """

    train: float
    evaluate: float

    @property
    def product(self) -> float:
        """Both in one number, for comparing runs."""
        return self.train + EVALUATION * self.evaluate


@dataclass(frozen=True)
class Forecast:
    """Expected wall time of one run in a worker, seconds, and what it is based on, in words."""

    seconds: float
    basis: str


def forecast(
    specs: Iterable[RunSpec],
    records: Iterable[RunRecord],
    device: Device,
    images: Mapping[DatasetSource, ImageCount] | None = None,
) -> dict[str, Forecast]:
    """Return the expected time of each run by its id; runs without any basis are missing.

    The median of done runs that differ in the seed only, else the median of other done runs, each scaled by epochs x
    images x pixels: of the same network and class of device if there are any. Without a done run, the reference rate of
    the network and class of device, of the nearest size in pixels.

    Args:
        specs: the runs.
        records: of this matrix or others; those that are not done are ignored.
        device: class of the device that will execute the runs.
        images: counts of folders.
    """
    done = [record for record in records if isinstance(record, DoneRun)]
    counts = _counts(done, images)
    like: dict[tuple[RunSpec, Device], list[float]] = {}
    paces: dict[tuple[str, Device], list[float]] = {}
    for record in done:
        seconds, on = record.timing.total_seconds, device_class(record.environment.device)
        like.setdefault((_without_seed(record.spec), on), []).append(seconds)
        pace = seconds / _work(record.spec, ImageCount.of(record.dataset)).product
        paces.setdefault((record.spec.model, on), []).append(pace)
    any_pace = [pace for of_network in paces.values() for pace in of_network]

    def of_run(spec: RunSpec) -> Forecast | None:
        seconds = like.get((_without_seed(spec), device))
        if seconds:
            return Forecast(median(seconds), "runs that differ in the seed only")
        count = counts.get(spec.source.portable) or catalogued(spec.source)
        if count is None:
            return None
        work = _work(spec, count)
        own = paces.get((spec.model, device))
        if own:
            return Forecast(median(own) * work.product, "scaled from done runs of this network")
        if any_pace:
            return Forecast(median(any_pace) * work.product, "scaled from done runs of another network or device")
        return _by_reference(spec, work, device)

    return {spec.id: found for spec in specs if (found := of_run(spec)) is not None}


def longest_first(specs: Iterable[RunSpec], records: Iterable[RunRecord] = ()) -> list[RunSpec]:
    """Return runs by decreasing epochs x images x pixels, so that no long one is left to the end; ties as they came.

    Args:
        specs: the runs.
        records: done ones give the images of their datasets.
    """
    counts = _counts(record for record in records if isinstance(record, DoneRun))

    def product(spec: RunSpec) -> float:
        count = counts.get(spec.source.portable) or catalogued(spec.source)
        return _work(spec, count or drawn({"train": UNKNOWN_IMAGES}, spec.source)).product

    return sorted(specs, key=product, reverse=True)


def device_class(device: str) -> Device:
    """Return the class of a device by its name in a record, ``cpu`` or the GPU's."""
    return "cpu" if device == "cpu" else "gpu"


def catalogued(source: DatasetSource) -> ImageCount | None:
    """Return the images of a catalogue's dataset, or None for a folder; missing splits and chosen classes estimated."""
    if source.is_folder:
        return None
    info = CATALOGUE[source.name]
    share = len(source.classes or info.classes) / len(info.classes)
    return drawn({split: round(share * number) for split, number in info.images.items()}, source)


def drawn(official: Mapping[SplitName, int], source: DatasetSource) -> ImageCount:
    """Return about how many images are trained on and held out, by the number of images in each official split."""
    missing = round(VALIDATION_SHARE * official["train"])
    train = official["train"] - missing * sum(split not in official for split in _HELD_OUT)
    return ImageCount(min(train, source.limit or train), sum(official.get(split, missing) for split in _HELD_OUT))


def _counts(
    done: Iterable[DoneRun], images: Mapping[DatasetSource, ImageCount] | None = None
) -> dict[DatasetSource, ImageCount]:
    given = {source.portable: count for source, count in (images or {}).items()}
    return given | {r.spec.source.portable: ImageCount.of(r.dataset) for r in done}


def _without_seed(spec: RunSpec) -> RunSpec:
    return spec.portable.model_copy(update={"seed": 0})


def _work(spec: RunSpec, images: ImageCount) -> Work:
    def steps(stage: Stage) -> float:
        return 0.0 if stage.keeps_features(spec.augment) else STEPS[stage.trainable]

    pixels = spec.input_size**2
    return Work(
        train=pixels * images.train * sum(stage.epochs * steps(stage) for stage in spec.stages),
        evaluate=pixels * images.held_out * sum(stage.epochs for stage in spec.stages),
    )


def _by_reference(spec: RunSpec, work: Work, device: Device) -> Forecast | None:
    network = spec.model.partition(".")[0]
    known = [rate for rate in REFERENCE_RATES if (rate.network, rate.device) == (network, device)]
    if not known:
        return None
    rate = min(known, key=lambda rate: abs(log(rate.size[0] / spec.input_size)))
    train, evaluate = (pixels**2 for pixels in rate.size)
    seconds = work.train / (rate.train * train) + work.evaluate / (rate.evaluate * evaluate)
    return Forecast(seconds, f"reference rate, not measured here ({rate.source})")
