"""Entry of a dataset in a matrix: name, number of images, choice of classes, folders of the splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from benchmark.data.catalogue import CATALOGUE, FOLDER, HUB, OUTSIDE, SPLITS, SplitName
from benchmark.data.splits.rules import Evaluation, uses_folds
from benchmark.data.value_range import Frames, Reading, ValueRange, Windows, clips
from benchmark.errors import did_you_mean
from benchmark.fields import Count, Frozen, NonEmpty, distinct
from benchmark.locations import expand_home
from benchmark.words import listed


@dataclass(frozen=True)
class Repository:
    """A dataset of the Hugging Face hub: ``hub:OWNER/NAME@COMMIT[/FOLDER][#IMAGE,LABEL]``.

    Attributes:
        id: ``OWNER/NAME``.
        revision: 40 hexadecimal digits of a commit; as written, if not checked.
        folder: the folder in the repository, with ``/``, or empty for the entire repository.
        columns: the columns of images and of labels in its Parquet files, if they are named.
    """

    id: str
    revision: str
    folder: str
    columns: tuple[str, str] | None

    @classmethod
    def parse(cls, name: str) -> Repository:
        """Return the parts of a name.

        Raises:
            ValueError: it is not a repository's name.
        """
        word = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
        match = re.fullmatch(rf"{HUB}({word}/{word})(?:@([\w.-]+)(?:/([^\\:\0#]+))?(?:#([^,]+),([^,]+))?)?", name)
        if match is None or {"", ".", ".."} & {*(match[3] or "_").split("/")}:
            raise ValueError(f"{name!r} is not {HUB}OWNER/NAME@COMMIT[/FOLDER][#IMAGE,LABEL].")
        return cls(match[1], match[2] or "", match[3] or "", (match[4], match[5]) if match[4] else None)

    @property
    def is_fixed(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None


def check_name(name: str) -> str:
    """Return a dataset's name; for a path without a folder's name (``folder:.``), with the absolute path.

    Raises:
        ValueError: it is neither in the catalogue, nor a folder, nor a repository at a commit.
    """
    if name.startswith(HUB):
        if not Repository.parse(name).is_fixed:
            raise ValueError(
                f"{name}: what a branch holds can change, so the name must end with @ and a commit of 40 digits. "
                f"`python -m benchmark datasets prepare {name}` says which one is current."
            )
        return name
    if name.startswith(FOLDER) and name != FOLDER:
        path = Path(name.removeprefix(FOLDER))
        return name if path.name not in ("", "..", "~") else f"{FOLDER}{expand_home(path).resolve()}"
    if name not in CATALOGUE:
        meant = f" Did you mean {FOLDER + name!r}?" if _is_there(name) else did_you_mean(name, CATALOGUE)
        raise ValueError(f"unknown dataset {name!r}.{meant}")
    return name


def _is_there(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError):  # not a valid file name, or the home of an unknown user
        return False


DatasetName = Annotated[str, AfterValidator(check_name)]

_OF_FOLDERS = ("splits", "value_range", "frames", "content", "colour", "folds", "windows")
"""Keys that only the entry of a folder or of a repository may have."""

_NOT_DECISIVE = {"splits", "colour", "folds"}
"""Keys that follow from others: a folder's content includes the splits, its images decide colour and folds."""

_USUAL = ("value_range", "frames", "windows")
"""Keys that enter hashes only if they differ from their default."""


class Splits(Frozen):
    """The folders of the splits of a user's own images: paths below the folder, with ``/``.

    Without a test folder the test images are drawn from the training images, and so are the validation images.
    """

    train: NonEmpty
    """The folder of the training images."""
    validation: NonEmpty | None = None
    """The folder of the validation images; not without ``test``."""
    test: NonEmpty | None = None
    """The folder of the test images."""

    @property
    def folders(self) -> dict[SplitName, str]:
        """Split -> its folder, for the splits that are named."""
        named = {split: getattr(self, split) for split in SPLITS}
        return {split: folder for split, folder in named.items() if folder is not None}

    @model_validator(mode="after")
    def _check_folders(self) -> Splits:
        if self.test is None and self.validation is not None:
            raise ValueError("validation is named, but test is not: of two folders the second is the test split")
        folders = [PurePosixPath(folder) for folder in self.folders.values()]
        for folder in folders:
            if folder.is_absolute() or ".." in folder.parts or not folder.parts:
                raise ValueError(f"{str(folder)!r} is not a folder below the dataset's folder")
        distinct(tuple(map(str, folders)))
        if any(one != other and one.is_relative_to(other) for one in folders for other in folders):
            raise ValueError("one of the folders is inside another one: its images would be in both splits")
        return self


class DatasetSource(Frozen):
    """A dataset as a matrix names it: a catalogue name or ``folder:PATH``, and the part of it that is used."""

    name: DatasetName
    """A name of the catalogue (``python -m benchmark datasets list``), or ``folder:PATH``: your own images, which enter
    the id by their content; or ``hub:OWNER/NAME@COMMIT``: a repository of the Hugging Face hub, read like a folder."""
    limit: Count | None = None
    """Number of training images, a stratified draw from ``split_seed``, or ``null`` for all. Validation images are
    limited in proportion (to at least 20 and 2 per class, group by group), test images never."""
    classes: tuple[NonEmpty, ...] | None = None
    """Two or more of the dataset's classes, in label order, or ``null`` for all. For a folder that can be read in two
    ways, they also say which folders are the classes."""
    splits: Splits | None = None
    """For a folder: the folders of the splits below it, if their names do not say it. Without ``test``, the test split
    is drawn from ``train``. Part of the id through the content."""
    value_range: ValueRange = "auto"
    """For a folder with files of more than 8 bits per sample: which value is black and which white."""
    frames: Frames = "refuse"
    """For a folder with animations, stacks of pages or slices: ``refuse`` reports them as bad images, ``first`` uses
    the first image of each."""
    content: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Hash of a folder's images, classes and splits, filled in by ``run`` in ``results/<name>/matrix.yaml``."""
    colour: bool | None = None
    """Whether a folder's images have colour, also filled in by ``run``. Not part of the id."""
    folds: bool | None = None
    """Whether a folder is evaluated by folds, also filled in by ``run``. Not part of the id."""
    windows: Windows | None = None
    """Which values are black and white in a folder's files of more than 8 bits per sample, by their type; also filled
    in by ``run``, or ``null`` if there are no such files."""

    @property
    def is_folder(self) -> bool:
        """Whether these are not in the catalogue: a user's own images, or a repository, which is read like a folder."""
        return self.name.startswith(OUTSIDE)

    @property
    def repository(self) -> Repository | None:
        """The repository of the hub, or None."""
        return Repository.parse(self.name) if self.name.startswith(HUB) else None

    @property
    def has_colour(self) -> bool:
        """Whether ``rgb`` is applicable."""
        return self.colour is not False if self.is_folder else CATALOGUE[self.name].colour

    def uses_folds(self, evaluation: Evaluation) -> bool:
        """Whether it is evaluated by cross-validation, see `benchmark.data.splits.rules.uses_folds`."""
        return bool(self.folds) if self.is_folder else uses_folds(CATALOGUE[self.name].images, evaluation)

    @property
    def unread(self) -> DatasetSource:
        """This entry as it was before its images were read."""
        return self.model_copy(update={"content": None, "windows": None})

    @property
    def reading(self) -> Reading:
        """The way from its files to pixels, once its windows are known."""
        return Reading(dict(self.windows or ()), clips(self.value_range), self.frames if self.is_folder else "first")

    @property
    def portable(self) -> DatasetSource:
        """This entry without paths of this machine: a folder by its last part, identified by its content."""
        if not self.name.startswith(FOLDER):
            return self
        return self.model_copy(update={"name": FOLDER + (PurePath(self.name.removeprefix(FOLDER)).name or "folder")})

    @property
    def decisive(self) -> dict[str, object]:
        """Values that decide the images, for hashes: a folder by its content, without its path, a repository by both.

        Raises:
            ValueError: the content of a folder is not known yet.
        """
        usual = {key for key in _USUAL if getattr(self, key) == _default(key)}
        if not self.is_folder:
            return self.model_dump(mode="json", exclude=_NOT_DECISIVE | usual | {"content"})
        if self.content is None:
            raise ValueError(f"{self.name} has no id before its images are identified")
        return {
            **self.model_dump(mode="json", exclude=_NOT_DECISIVE | usual),
            "name": FOLDER if self.repository is None else self.name,
        }

    @model_validator(mode="after")
    def _check_classes(self) -> DatasetSource:
        of_folders = [key for key in _OF_FOLDERS if getattr(self, key) != _default(key)]
        if of_folders and not self.is_folder:
            raise ValueError(f"{listed(of_folders)}: only for a folder; {self.name} is in the catalogue")
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


def _default(key: str) -> object:
    return DatasetSource.model_fields[key].default
