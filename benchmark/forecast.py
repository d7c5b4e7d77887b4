"""How long runs will take, from records of runs like them. No torch, no disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmark.datasets.catalogue import CATALOGUE
from benchmark.datasets.source import DatasetSource
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import RunSpec
from benchmark.policies import Stage
from benchmark.records import DatasetRecord, Environment, RunRecord

VALIDATION_SHARE = 0.15
"""Of the training images, where a dataset has no validation split (or, about, no test split): design.md."""

UNKNOWN_IMAGES = 1000
"""Training images taken for a dataset of which nothing is known; orders runs, is never shown as a time."""

PASSES = {"all": 3.0, "later-half": 2.0, "head": 1.0}
"""Cost of a training step on one image in forward passes: a backward pass takes about two of them, and is left out
where nothing before the head is trained. Only for runs that no record is like."""


@dataclass(frozen=True)
class Hardware:
    """What a run executes on, as `records.Environment` names it.

    Attributes:
        device: ``cpu``, or the GPU's name.
        cpu: the processor's name.
    """

    device: str
    cpu: str

    @staticmethod
    def of(environment: Environment) -> Hardware:
        """Return the hardware that a record names."""
        return Hardware(environment.device, environment.cpu)


@dataclass(frozen=True)
class Way:
    """What runs must share to take the same time an image: network, size, trained part, hardware.

    Attributes:
        stages: (trainable, batch-norm mode) of each stage, which tell the work of a step; learning rates do not.
    """

    model: str
    input_size: int
    batch_size: int
    channels: int
    stages: tuple[tuple[str, str], ...]
    augment: tuple[str, ...]
    precision: str
    threads: int
    hardware: Hardware


@dataclass(frozen=True)
class Pace:
    """Seconds that a way of training takes.

    Attributes:
        train: per training image and epoch, for each stage.
        evaluate: per validation or test image and epoch.
        fixed: per run: opening images, building the model, features of a frozen backbone, and what else is no epoch.
    """

    train: tuple[float, ...]
    evaluate: float
    fixed: float


@dataclass(frozen=True)
class ImageCount:
    """Images of a dataset: in training, and in validation and test together."""

    train: int
    held_out: int

    @staticmethod
    def of(dataset: DatasetRecord) -> ImageCount:
        """Return what a record counted."""
        return ImageCount(dataset.train_images, dataset.validation_images + dataset.test_images)


@dataclass(frozen=True)
class Forecast:
    """What one run is expected to take.

    Attributes:
        seconds: of wall clock, in a worker; None where nothing measured is like it.
        basis: where the figure comes from, in words.
        cost: comparable among the runs of one call: seconds where they are known, else an estimate on their scale.
    """

    seconds: float | None
    basis: str
    cost: float


def forecast(
    specs: Iterable[RunSpec],
    records: Iterable[RunRecord],
    *,
    hardware: Hardware | None = None,
    measured: Mapping[Way, Pace] | None = None,
    images: Mapping[DatasetSource, ImageCount] | None = None,
) -> dict[str, Forecast]:
    """Return what each run is expected to take, by its id.

    With records of the same `Way` (model, size, batch, channels, stages, hardware, threads), or a pace that was
    measured for it:

        seconds = fixed + sum over stages of epochs x training images x train + all epochs x held-out images x evaluate

    each factor the median of the records', epochs cut by the share that early stopping left of them in runs of the same
    policy. Else a relative cost: images x epochs x pixels x passes of the trained part, scaled to the others' seconds.
    The same arguments give the same answer, in whatever order the records come.

    Args:
        specs: the runs.
        records: of this matrix or others; those that are not done are passed over.
        hardware: what the runs will execute on; None: that of the newest record.
        measured: paces from elsewhere (a calibration); records of the same way go before them.
        images: counts of datasets that no record and no catalogue knows.
    """
    runs = {spec.id: spec for spec in specs}
    done = sorted((r for r in records if r.status == "done"), key=lambda r: (r.finished_at, r.id))
    if hardware is None and done:
        hardware = Hardware.of(_environment(done[-1]))
    by_way: dict[Way, list[RunRecord]] = {}
    for record in done:
        by_way.setdefault(way(record.spec, Hardware.of(_environment(record))), []).append(record)
    counts = {source.portable: count for source, count in (images or {}).items()}
    counts |= {record.spec.source.portable: _images(record) for record in done}

    sources = dict.fromkeys(spec.source for spec in runs.values())
    counted = {source: counts.get(source.portable) or catalogued(source) for source in sources}
    seconds: dict[str, tuple[float, str]] = {}
    for run, spec in runs.items():
        count = counted[spec.source]
        if hardware is None or count is None:
            continue
        mine = way(spec, hardware)
        peers = by_way.get(mine, [])
        pace = pace_of(peers) if peers else (measured or {}).get(mine)
        if pace is not None:
            number = f"{len(peers)} record{'' if len(peers) == 1 else 's'} like it" if peers else "a calibration"
            seconds[run] = _seconds(spec, pace, count, _share_of_epochs(spec, peers)), number

    relative = {run: _relative(spec, counted[spec.source]) for run, spec in runs.items()}
    scale = median([took / relative[run] for run, (took, _) in seconds.items()]) if seconds else 1.0
    return {
        run: Forecast(seconds[run][0], seconds[run][1], seconds[run][0])
        if run in seconds
        else Forecast(None, "relative cost: no record is like it", cost * scale)
        for run, cost in relative.items()
    }


def longest_first(specs: Iterable[RunSpec], expected: Mapping[str, Forecast]) -> list[RunSpec]:
    """Return runs in the order in which to start them, so that no long one is left to the end; ties as they came."""
    return sorted(specs, key=lambda spec: -expected[spec.id].cost)


def way(spec: RunSpec, hardware: Hardware) -> Way:
    """Return what decides the time that a run takes an image."""
    return Way(
        model=spec.model,
        input_size=spec.input_size,
        batch_size=spec.batch_size,
        channels=INPUT_MODES[spec.input_mode].channels,
        stages=tuple((stage.trainable, stage.batch_norm) for stage in spec.stages),
        augment=tuple(step.name for step in spec.augment),
        precision=spec.precision,
        threads=spec.threads,
        hardware=hardware,
    )


def pace_of(records: Sequence[RunRecord]) -> Pace:
    """Return the pace of done runs of one way, the median of each part."""
    paces = [_pace(record) for record in records]
    return Pace(
        train=tuple(median(stage) for stage in zip(*(pace.train for pace in paces), strict=True)),
        evaluate=median(pace.evaluate for pace in paces),
        fixed=fmean(pace.fixed for pace in paces),  # features are computed in one run and read in the others
    )


def catalogued(source: DatasetSource) -> ImageCount | None:
    """Return the images of a catalogue's dataset, drawn splits about; None for a folder or a choice of classes."""
    if source.is_folder or source.classes is not None:
        return None
    known = CATALOGUE[source.name].images
    train = known["train"]
    held_out = 0
    for split in ("validation", "test"):
        if split in known:
            held_out += known[split]
        else:
            drawn = round(VALIDATION_SHARE * known["train"])
            train, held_out = train - drawn, held_out + drawn
    return ImageCount(min(train, source.limit or train), held_out)


def _environment(record: RunRecord) -> Environment:
    assert record.environment is not None, f"{record.id} is done and has no environment"
    return record.environment


def _images(record: RunRecord) -> ImageCount:
    assert record.dataset is not None, f"{record.id} is done and has no dataset"
    return ImageCount.of(record.dataset)


def _pace(record: RunRecord) -> Pace:
    timing, count = record.timing, _images(record)
    assert timing is not None, f"{record.id} is done and has no timing"
    epochs = len(record.history)

    def per_image(stage: int) -> float:
        of_stage = [epoch.train_seconds for epoch in record.history if epoch.stage == stage]
        return fmean(of_stage) / count.train

    return Pace(
        train=tuple(per_image(stage) for stage in range(1, len(record.spec.stages) + 1)),
        evaluate=timing.eval_seconds / (epochs * count.held_out),
        fixed=max(0.0, timing.total_seconds - timing.train_seconds - timing.eval_seconds),
    )


def _most_epochs(stages: Iterable[Stage]) -> int:
    return sum(stage.epochs for stage in stages)


def _share_of_epochs(spec: RunSpec, peers: Sequence[RunRecord]) -> float:
    """Return the mean share of its epochs that a run of this policy needed before it stopped early, 0..1."""
    own = [record for record in peers if record.spec.policy == spec.policy]
    shares = [len(record.history) / _most_epochs(record.spec.stages) for record in own or peers]
    return fmean(shares) if shares else 1.0


def _seconds(spec: RunSpec, pace: Pace, count: ImageCount, share: float) -> float:
    training = sum(stage.epochs * train for stage, train in zip(spec.stages, pace.train, strict=True)) * count.train
    evaluation = _most_epochs(spec.stages) * count.held_out * pace.evaluate
    return pace.fixed + share * (training + evaluation)


def _relative(spec: RunSpec, count: ImageCount | None) -> float:
    if count is None:
        train = spec.source.limit or UNKNOWN_IMAGES
        count = ImageCount(train, round(VALIDATION_SHARE * train))
    passes = sum(stage.epochs * PASSES[stage.trainable] for stage in spec.stages) * count.train
    return (passes + _most_epochs(spec.stages) * count.held_out) * spec.input_size**2
