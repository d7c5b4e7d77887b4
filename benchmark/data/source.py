"""The images that a matrix asks for: a name, a number of images, a choice of classes."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from benchmark.data.catalogue import CATALOGUE, FOLDER
from benchmark.data.splits.rules import Evaluation, uses_folds
from benchmark.errors import did_you_mean
from benchmark.fields import Count, Frozen, NonEmpty


def _check_name(name: str) -> str:
    if name.startswith(FOLDER) and name != FOLDER:
        return name
    if name not in CATALOGUE:
        raise ValueError(f"unknown dataset {name!r}.{did_you_mean(name, CATALOGUE)}")
    return name


DatasetName = Annotated[str, AfterValidator(_check_name)]


class DatasetSource(Frozen):
    """A dataset as a matrix names it: a catalogue name or ``folder:PATH``, and the part of it that is used."""

    name: DatasetName
    limit: Count | None = None
    """Training images, stratified, from ``split_seed``, or None for all. Validation images are limited in proportion
    (`benchmark.data.splits.rules.count_limited_validation`), test images never."""
    classes: tuple[NonEmpty, ...] | None = None
    """A subset of the classes, in this label order, or None for all."""
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Hash of a folder's images, classes and splits, filled in by `benchmark.matrix.identify`."""
    colour: bool | None = None
    """Whether a folder's images have colour, filled in likewise."""
    folds: bool | None = None
    """Whether a folder is evaluated by cross-validation, filled in likewise."""

    @property
    def is_folder(self) -> bool:
        """Whether these are a user's own images."""
        return self.name.startswith(FOLDER)

    @property
    def has_colour(self) -> bool:
        """Whether ``rgb`` is applicable."""
        return self.colour is not False if self.is_folder else CATALOGUE[self.name].colour

    def uses_folds(self, evaluation: Evaluation) -> bool:
        """Whether it is evaluated by cross-validation, see `benchmark.data.splits.rules.uses_folds`."""
        return bool(self.folds) if self.is_folder else uses_folds(self.name, CATALOGUE[self.name].images, evaluation)

    @property
    def portable(self) -> DatasetSource:
        """The same without a path of this machine: a folder is named by its last part and identified by its content."""
        if not self.is_folder:
            return self
        return self.model_copy(update={"name": FOLDER + (PurePath(self.name.removeprefix(FOLDER)).name or "folder")})

    @property
    def decisive(self) -> dict[str, object]:
        """Values that decide the images, for hashes: a folder by its content, without its path.

        Raises:
            ValueError: a folder whose content is not known yet.
        """
        if not self.is_folder:
            return self.model_dump(mode="json", exclude={"content", "colour", "folds"})
        if self.content is None:
            raise ValueError(f"{self.name} has no id before its images are identified")
        return {**self.model_dump(mode="json", exclude={"colour", "folds"}), "name": FOLDER}

    @model_validator(mode="after")
    def _classes_of_the_dataset(self) -> DatasetSource:
        if not self.is_folder and (self.content, self.colour, self.folds) != (None, None, None):
            raise ValueError(f"content, colour and folds belong to a folder's entry, {self.name} is known")
        if self.classes is not None:
            known = self.classes if self.is_folder else CATALOGUE[self.name].classes
            for wanted in self.classes:
                if wanted not in known:
                    raise ValueError(f"dataset {self.name} has no class {wanted!r}.{did_you_mean(wanted, known)}")
            if len(set(self.classes)) != len(self.classes):
                raise ValueError(f"classes of {self.name} are named twice")
            if len(self.classes) < 2:
                raise ValueError(f"classes of {self.name}: a classifier needs at least two")
        return self
