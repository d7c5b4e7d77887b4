"""Method of a report, from the matrix and the records: protocol, settings, hardware, versions, time, flags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from benchmark.analysis.results import Results
from benchmark.data.splits.rules import FOLDS, Evaluation
from benchmark.data.value_range import in_words
from benchmark.environment import CHOOSE_INSTRUCTIONS
from benchmark.matrix.augmentations import Step, describe
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.matrix.run_spec import CONTENT
from benchmark.matrix.settings import FEWEST_FOR_ACCURACY, ChooseBy, EarlyStopping
from benchmark.records.record import DoneRun, Environment
from benchmark.report.text import escape, table
from benchmark.words import count, duration, listed

STATED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "models": ("model", "timm/resnetrs50"),
        "input_modes": ("input modes", "rgb, grey-3ch, grey-1ch"),
        "policies": ("policies", "finetune, finetune-whole, scratch"),
        "image_size": ("image size (px)", "224"),
        "batch_size": ("batch size", "32"),
        "epochs_of_a_run": ("epochs of a run, at most", "60"),
        "optimizer": ("optimizer", "adamw"),
        "lr": ("learning rate of the first step", "0.001"),
        "lr_after_the_head": ("learning rate of everything after the head, times the head's", "0.1"),
        "scheduler": ("learning rate schedule", "cosine"),
        "augment": ("augmentation (training images)", "hflip"),
    }
)
"""What the article's text states: key -> (name, value). Its datasets are in `_ARTICLES_DATASETS`."""

LEFT_OPEN: Mapping[str, str] = MappingProxyType(
    {
        "epochs": "epochs of the whole network, at most",
        "head_epochs": "epochs of the head, before them",
        "early_stopping": "early stopping: patience (epochs)",
        "choose_by": "score on validation that chooses the epoch",
        "weight_decay": "weight decay",
        "head_init": "start of the head",
        "crop_size": "central crop (px)",
        "weights": "weights",
        "seeds": "seeds",
        "tune_seeds": "seeds of runs that choose the learning rate",
        "split_seed": "seed of a validation split that a dataset lacks",
        "evaluation": "test of a dataset that has no test split",
        "on_bad_image": "images that cannot be decoded",
        "on_leak": "copies across the splits of a folder",
        "precision": "precision",
        "threads": "threads per run",
    }
)
"""Settings that the article's text does not state: key -> name."""

PROTOCOL: Mapping[str, str] = MappingProxyType(
    {
        "a cosine ends": "at zero, step by step, in each stage",
        "images are resized": "on both sides, bilinear, antialiased",
        "head": "the network's own, its last layer new",
    }
)
"""What no setting changes and the article's text does not state: name -> what is done."""

_CHOICE: dict[ChooseBy, str] = {
    "accuracy": "best validation accuracy (ties: lower validation loss, then the earlier epoch; with fewer than "
    f"{FEWEST_FOR_ACCURACY} validation images the loss goes first)",
    "loss": "lowest validation loss (ties: higher validation accuracy, then the earlier epoch)",
    "roc_auc": "highest ROC AUC on validation (ties: lower validation loss, then the earlier epoch)",
}

_ARTICLES_DATASETS = ("beans", "rps", "pets")

OURS, SAME = "our choice", "the same"

_EVALUATION: dict[Evaluation, str] = {
    "split": f"on a drawn one; of a small dataset by {FOLDS} folds",
    "folds": f"by {FOLDS} folds",
}


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


def settings(results: Results) -> str:
    """Return the settings against the article's, as a Markdown table: what it states, then what it leaves open."""
    here = _here(results)
    rows = [[name, escape(here[key]), _compared(key, here[key])] for key, (name, _) in STATED.items() if here[key]]
    for entry in results.matrix.datasets:
        limited = f"{entry.limit} training images, validation in proportion"
        taken = "all training images" if entry.limit is None else limited
        classes = "" if entry.classes is None else f", classes {listed([escape(name) for name in entry.classes])}"
        content = f"the folder with content {(entry.content or '')[:12]}"
        name = content if entry.is_folder and entry.repository is None else escape(entry.name)
        is_complete = entry.limit is None and entry.classes is None
        origin = SAME if entry.name in _ARTICLES_DATASETS and is_complete else OURS
        shown = "".join(f", values of {in_words(window)} in {kind} files" for kind, window in entry.windows or ())
        first = "" if entry.frames == "refuse" else ", the first of several frames"
        rows.append([f"dataset {escape(entry.title)}", f"{name}, {taken}{classes}{shown}{first}", origin])
    rows += [[name, escape(here[key]), OURS] for key, name in LEFT_OPEN.items()]
    rows += [[name, done, OURS] for name, done in PROTOCOL.items()]
    return table(["setting", "here", "the article"], rows, left=3)


def choice(matrix: Matrix) -> str:
    """Return how the epoch is chosen, in a sentence, and of which policies the starting point is not."""
    chosen = _CHOICE[matrix.training.choose_by]
    without = [escape(name) for name in matrix.policies if not matrix.policy(name).choose_start]
    return (
        f"Of the last stage's epochs and its starting point, from which patience counts, the one of {chosen} is chosen"
        + (f" (without the starting point: {listed(without)})." if without else ".")
    )


def _here(results: Results) -> dict[str, str]:
    """Return this matrix's value of every key of `STATED` and `LEFT_OPEN`, empty where no policy has such a stage."""
    matrix = results.matrix
    stages = [run.spec.stages for run in results.plan.runs]
    rates_of_policies = [item for item in matrix.training.policy_lr.items() if item[0] in matrix.policies]
    rates = {after.lr / before.lr for each in stages for before, after in pairwise(each) if after.trainable == "all"}
    return {
        **{key: _text(value) for key, value in matrix.training},
        "lr": ", ".join([_text(matrix.training.lr), *(f"{rate:g} for {name}" for name, rate in rates_of_policies)]),
        "models": ", ".join(matrix.models),
        "input_modes": ", ".join(
            f"{mode} ({matrix.colormap})" if INPUT_MODES[mode].derived == "map" else mode for mode in matrix.input_modes
        ),
        "policies": ", ".join(matrix.policies),
        "epochs_of_a_run": str(max(sum(stage.epochs for stage in each) for each in stages)),
        "lr_after_the_head": ", ".join(f"{rate:g}" for rate in sorted(rates)),
        "weights": _weights(matrix.weights),
        "seeds": _seeds(matrix.seeds),
        "tune_seeds": _text(matrix.tune_seeds),
        "split_seed": "each run's own" if matrix.split_seed == "seed" else str(matrix.split_seed),
        "evaluation": _EVALUATION[matrix.evaluation],
        "on_bad_image": matrix.on_bad_image,
        "on_leak": matrix.on_leak,
        "threads": str(matrix.threads),
    }


def _seeds(seeds: tuple[int, ...]) -> str:
    if isinstance(seeds, UntilSettled):
        return f"{seeds.at_least}, then one more at a time until the dataset is settled, at most {len(seeds)}"
    return _text(seeds)


def _weights(source: str) -> str:
    """Return the origin of weights; files are named by their content."""
    path, marked, content = source.rpartition(CONTENT)
    return f"a file with SHA-256 {content[:12]}…" if marked and path else source


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, EarlyStopping):
        return str(value.patience)
    if isinstance(value, tuple):
        return ", ".join(describe(each) if isinstance(each, Step) else _text(each) for each in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _compared(key: str, here: str) -> str:
    theirs = STATED[key][1]
    ours = here.partition(".")[0] if key == "models" else here  # the article names no tag of weights
    return SAME if set(ours.split(", ")) == set(theirs.split(", ")) else f"{theirs} (here: {OURS})"


def datasets(results: Results) -> str:
    """Return sizes, classes and notes of the datasets that have a done run, as Markdown."""
    rows, notes = [], []
    for dataset in results.datasets:
        records = [record.dataset for record in results.plan.done if record.spec.dataset == dataset]
        if not records:
            continue
        data = records[0]
        classes = ", ".join(escape(name) for name in data.classes[:12]) + (", …" if len(data.classes) > 12 else "")
        sizes = [
            _between([record.train_images for record in records]),
            _between([record.validation_images for record in records]),
            _between([record.test_images for record in records]),
        ]
        groups = results.test_groups(dataset)
        units = "unknown" if groups is None else str(groups)
        rows.append([escape(dataset), f"{len(data.classes)} ({classes})", *sizes, units, f"`{data.fingerprint[:12]}`"])
        notes += [f"- {escape(dataset)}: {escape(note)}" for note in data.notes]
        if groups is None:
            notes.append(f"- {escape(dataset)}: intervals assume independent test images.")
    header = ["dataset", "classes", "train", "validation", "test", "groups of test images", "fingerprint"]
    return "\n\n".join([table(header, rows, left=2), *(["\n".join(notes)] if notes else [])])


def _between(sizes: Sequence[int]) -> str:
    """Return the size of a split in all runs."""
    return " to ".join(str(size) for size in sorted({min(sizes), max(sizes)}))


def machine(records: Sequence[DoneRun]) -> str:
    """Return hardware, versions, dates and seconds of the done runs, as a Markdown list."""
    known = [record.environment for record in records]
    facts: tuple[tuple[str, Callable[[Environment], str]], ...] = (
        ("device", lambda e: e.device),
        ("processor", _processor),
        ("platform", lambda e: e.platform),
        ("precision", lambda e: e.precision),
        ("threads per run", lambda e: str(e.threads)),
        ("runs at once", lambda e: str(e.workers)),
        ("Python", lambda e: e.python),
        ("code", _revision),
    )
    if any(environment.preregistered for environment in known):
        name = "SHA-256 of the file with the questions, asked before the first run"
        facts = (*facts, (name, lambda e: e.preregistered or "none"))
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


def _processor(environment: Environment) -> str:
    chosen = (f"{name}={value}" for name, value in environment.variables.items() if name in CHOOSE_INSTRUCTIONS)
    return ", ".join([environment.cpu, *filter(None, [environment.instruction_set]), *chosen])


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
