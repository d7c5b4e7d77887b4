"""Method of a report, from the matrix and the records: protocol, settings, hardware, versions, time, flags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from benchmark.analysis.results import Results
from benchmark.matrix.augmentations import describe
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import CONTENT
from benchmark.matrix.settings import FEWEST_FOR_ACCURACY, ChooseBy, TrainingSettings
from benchmark.records.record import DoneRun, Environment
from benchmark.report.text import escape, table
from benchmark.words import count, duration, listed

_NAMES: dict[str, str] = {
    "image_size": "image size (px, both sides)",
    "batch_size": "batch size",
    "epochs": "epochs of the whole network, at most",
    "head_epochs": "epochs of the head, before them",
    "optimizer": "optimizer",
    "lr": "learning rate of the first step",
    "weight_decay": "weight decay",
    "scheduler": "learning rate schedule",
    "augment": "augmentation (training images)",
    "early_stopping": "early stopping: patience (epochs)",
    "choose_by": "score that chooses the epoch",
    "precision": "precision",
}

_ARTICLE: dict[str, str] = {
    "models": "timm/resnetrs50",
    "image_size": "224",
    "batch_size": "32",
    "epochs": "60",
    "optimizer": "adamw",
    "lr": "0.001",
    "scheduler": "cosine",
    "augment": "hflip",
    "early_stopping": "10",
}
"""Settings that the article states (`experiments/full.yaml` comments on each key)."""

_CHOICE: dict[ChooseBy, str] = {
    "accuracy": "best validation accuracy (ties: lower validation loss, then the earlier epoch; with fewer than "
    f"{FEWEST_FOR_ACCURACY} validation images the loss goes first)",
    "loss": "lowest validation loss (ties: higher validation accuracy, then the earlier epoch)",
    "roc_auc": "highest ROC AUC on validation (ties: lower validation loss, then the earlier epoch)",
}

_ARTICLES_DATASETS = ("beans", "rps", "pets")

OURS = "our choice"


def machine_in_short(records: Sequence[DoneRun]) -> str:
    """Return hardware, versions and dates of the done runs in one sentence, Markdown."""
    known = [record.environment for record in records]
    versions = [f"{name} {_distinct(known, _version_of(name))}" for name in ("torch", "timm", "pytorch-accelerated")]
    first = min(record.started_at for record in records)[:10]
    last = max(record.finished_at for record in records)[:10]
    return (
        f"{_distinct(known, lambda e: e.device if e.device != 'cpu' else e.cpu)}; "
        f"Python {_distinct(known, lambda e: e.python)}, {', '.join(versions)}; "
        + (f"on {first}." if first == last else f"from {first} to {last}.")
    )


def settings(matrix: Matrix) -> str:
    """Return the matrix's settings against the article's, as a Markdown table."""
    rows = [["model", listed([escape(m) for m in matrix.models]), _compared("models", _without_tag(matrix.models))]]
    for key, name in _NAMES.items():
        shown = _setting(matrix, key)
        rows.append([name, escape(shown), _compared(key, shown)])
    rows += [
        ["weights", _weights(matrix.weights), OURS],
        ["seeds", ", ".join(str(seed) for seed in matrix.seeds), OURS],
        ["split seed", str(matrix.split_seed), OURS],
        ["threads per run", str(matrix.threads), OURS],
    ]
    for entry in matrix.datasets:
        taken = "all training images" if entry.limit is None else f"{entry.limit} training images"
        classes = "" if entry.classes is None else f", classes {listed([escape(name) for name in entry.classes])}"
        name = f"the folder with content {(entry.content or '')[:12]}" if entry.is_folder else escape(entry.name)
        is_complete = entry.limit is None and entry.classes is None
        origin = "the same" if entry.name in _ARTICLES_DATASETS and is_complete else OURS
        rows.append([f"dataset {escape(entry.title)}", f"{name}, {taken}{classes}", origin])
    return table(["setting", "here", "the article"], rows, left=3)


def choice(training: TrainingSettings) -> str:
    """Return how the epoch is chosen, in one sentence."""
    chosen = _CHOICE[training.choose_by]
    return (
        f"Of the last stage's epochs and its starting point, from which patience counts, the one of {chosen} is chosen."
    )


def _weights(source: str) -> str:
    """Return the origin of weights; files are named by their content."""
    path, marked, content = source.rpartition(CONTENT)
    return f"a file with SHA-256 {content[:12]}…" if marked and path else source


def _without_tag(models: Sequence[str]) -> str:
    return ", ".join(model.partition(".")[0] for model in models)


def _setting(matrix: Matrix, key: str) -> str:
    value = getattr(matrix.training, key)
    if key == "early_stopping":
        return "off" if value is None else str(value.patience)
    if isinstance(value, tuple):
        return ", ".join(describe(step) for step in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _compared(key: str, shown: str) -> str:
    if key not in _ARTICLE:
        return OURS
    return "the same" if shown == _ARTICLE[key] else f"{_ARTICLE[key]} (here: {OURS})"


def datasets(results: Results) -> str:
    """Return sizes, classes and notes of the datasets that have a done run, as Markdown."""
    rows, notes = [], []
    for dataset in results.datasets:
        record = next((r for r in results.plan.done if r.spec.dataset == dataset), None)
        if record is None:
            continue
        data = record.dataset
        classes = ", ".join(escape(name) for name in data.classes[:12]) + (", …" if len(data.classes) > 12 else "")
        sizes = [str(n) for n in (data.train_images, data.validation_images, data.test_images)]
        groups = results.test_groups(dataset)
        units = "unknown" if groups is None else str(groups)
        rows.append([escape(dataset), f"{len(data.classes)} ({classes})", *sizes, units, f"`{data.fingerprint[:12]}`"])
        notes += [f"- {escape(dataset)}: {escape(note)}" for note in data.notes]
        if groups is None:
            notes.append(f"- {escape(dataset)}: intervals assume independent test images.")
    header = ["dataset", "classes", "train", "validation", "test", "groups of test images", "fingerprint"]
    return "\n\n".join([table(header, rows, left=2), *(["\n".join(notes)] if notes else [])])


def machine(records: Sequence[DoneRun]) -> str:
    """Return hardware, versions, dates and seconds of the done runs, as a Markdown list."""
    known = [record.environment for record in records]
    facts: tuple[tuple[str, Callable[[Environment], str]], ...] = (
        ("device", lambda e: e.device),
        ("processor", lambda e: e.cpu if e.instruction_set is None else f"{e.cpu}, {e.instruction_set}"),
        ("platform", lambda e: e.platform),
        ("precision", lambda e: e.precision),
        ("threads per run", lambda e: str(e.threads)),
        ("runs at once", lambda e: str(e.workers)),
        ("Python", lambda e: e.python),
        ("code", _revision),
    )
    lines = [f"- {name}: {_distinct(known, value)}" for name, value in facts]
    packages = sorted({name for environment in known for name in environment.packages})
    versions = [f"{name} {_distinct(known, _version_of(name))}" for name in packages]
    lines.append(f"- packages: {', '.join(versions) or 'not recorded'}")
    lines.append(f"- run from {min(r.started_at for r in records)} to {max(r.finished_at for r in records)} (UTC)")
    timings = [record.timing for record in records]
    train = math.fsum(timing.train_seconds for timing in timings)
    total = math.fsum(timing.total_seconds for timing in timings)
    lines.append(f"- time: {duration(total)} in all runs together, of which {duration(train)} in training steps")
    return "\n".join(lines)


def _version_of(package: str) -> Callable[[Environment], str]:
    return lambda environment: environment.packages.get(package, "missing")


def _revision(environment: Environment) -> str:
    if environment.git_commit is None:
        return "no git revision"
    return environment.git_commit[:12] + (" with uncommitted changes" if environment.git_dirty else "")


def _distinct(known: Sequence[Environment], value: Callable[[Environment], str]) -> str:
    counts = Counter(value(environment) for environment in known)
    if len(counts) == 1:
        return escape(next(iter(counts)))
    return ", ".join(f"{escape(text)} ({count(counts[text], 'run')})" for text in sorted(counts)) or "not recorded"


def flags(records: Sequence[DoneRun]) -> dict[str, int]:
    """Return the number of runs that were contended, of unknown contention, saturated or stopped early."""
    return {
        "contended": sum(r.timing.contended is True for r in records),
        "unknown": sum(r.timing.contended is None for r in records),
        "saturated": sum(r.validation_saturated for r in records),
        "stopped": sum(any(stage.stopped_early for stage in r.model.stages) for r in records),
    }
