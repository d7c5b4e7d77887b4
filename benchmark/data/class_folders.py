"""Layouts of image folders: class folders and split folders. What can be read in two ways is refused."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from benchmark.data.catalogue import FOLDER, SPLITS, SplitName
from benchmark.data.source import DatasetSource
from benchmark.data.spelling import is_text, list_alike, quoted
from benchmark.data.splits.words import hints, meaning, resolve
from benchmark.data.table_file import find_table
from benchmark.data.tree import Tree, as_text
from benchmark.errors import UserError
from benchmark.words import listed

_OF_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos")
"""Names of folders that contain the images of all classes."""

_MOST_NAMED = 8  # maximum number of names in a sentence


class ClassFolder(NamedTuple):
    """A folder with images of one class, and of one split if it is known."""

    name: str
    split: SplitName | None
    folder: Path


class Layout:
    """The layout of a user's folder.

    Args:
        tree: the folder.
        source: its entry in the matrix; ``splits`` and ``classes`` decide where the folder can be read in two ways.
    """

    def __init__(self, tree: Tree, source: DatasetSource) -> None:
        self.tree = tree
        self.source = source
        self.wanted = set(source.classes or ())

    @cached_property
    def base(self) -> Path:
        """The folder with the table, the splits or the classes: the root, unless one subfolder contains everything."""
        base = self.tree.root
        while find_table(self.tree.level(base)) is None:
            folders = self.tree.level(base).folders
            full = self.with_images(folders)
            if len(full) != 1 or meaning(full[0].name):
                break
            if self.has_own(full[0]) and find_table(self.tree.level(full[0])) is None:
                break  # a class
            if any(next(self.tree.walk(folder, notes=False), None) is None for folder in folders):
                break  # an empty folder is a class without images
            base = full[0]
        return base

    @cached_property
    def splits(self) -> dict[Path, SplitName]:
        """The split folders, as listed in the entry or recognised by name; may be empty.

        Raises:
            UserError: a folder that the entry lists is missing, or the names can be read in two ways.
        """
        return self.recognised_splits() if self.source.splits is None else self.named_splits()

    def class_folders(self) -> Sequence[ClassFolder]:
        """Return the class folders.

        Raises:
            UserError: the folder has none of the layouts, or can be read in two ways.
        """
        if self.splits:
            return self.of_splits(self.splits)
        folders = self.tree.level(self.base).folders
        if found := self.splits_below_classes(folders):
            return found
        if not self.are_classes(folders):
            self.refuse_hints(folders)
        return self.check_names(self.classes([(None, folder) for folder in folders]))

    def named_splits(self) -> dict[Path, SplitName]:
        """Return the folders that ``splits`` names."""
        assert self.source.splits is not None
        named = {self.tree.root / folder: split for split, folder in self.source.splits.folders.items()}
        for folder in named:
            if not folder.is_dir():
                raise self.error(f"splits names {self.tree.name(folder)}, but there is no such folder")
        return named

    def are_classes(self, folders: Iterable[Path]) -> bool:
        """Whether the entry's ``classes`` says that these folders are classes, whatever their names."""
        return bool(self.wanted) and self.wanted <= {folder.name for folder in folders}

    def recognised_splits(self) -> dict[Path, SplitName]:
        """Return folder -> split, for folders with names of splits; empty if these are missing, or classes."""
        folders = self.tree.level(self.base).folders
        if self.are_classes(folders):
            return {}
        words = [folder for folder in folders if meaning(folder.name)]
        if not words:
            return {}
        others = [folder for folder in self.with_images(folders) if folder not in words]
        try:
            meant = resolve(folder.name for folder in words)
        except ValueError as error:
            if not others:
                raise self.error(f"the split folders are {_names(words)}; {error}") from None
            meant = {}
        splits = {folder: meant[folder.name] for folder in words if meant}
        if others:
            rest = _names(others)
            as_splits = (
                f"as the splits {_names(words)}, without {rest}"
                if meant
                else f"as splits, some of them with unknown names ({rest})"
            )
            raise self.ambiguous(
                (as_splits, self.set_splits(splits)),
                (f"as the classes {_names([*words, *others])}", self.set_classes([*words, *others])),
            )
        if len(set(splits.values())) < len(splits):
            raise self.error(f"the split folders are {_names(words)}: each split may occur only once")
        return splits

    def of_splits(self, splits: Mapping[Path, SplitName]) -> Sequence[ClassFolder]:
        """Return the class folders of split folders."""
        flat = [
            folder
            for folder in splits
            if self.has_own(folder) and not self.with_images(self.tree.level(folder).folders)
        ]
        if flat and self.source.splits is None and len(flat) == len(splits):
            raise self.ambiguous(
                (f"as the classes {_names(flat)}", self.set_classes(flat)),
                ("as splits, which need one folder per class in each, or labels.csv with the labels", ""),
            )
        found = self.classes(
            [(split, folder) for base, split in splits.items() for folder in self.tree.level(base).folders]
        )
        return self.check_complete(found, {split: self.tree.name(folder) for folder, split in splits.items()})

    def splits_below_classes(self, folders: Sequence[Path]) -> Sequence[ClassFolder]:
        """Return the class folders of the layout ``class/split``; empty if the layout is another one."""
        full = self.with_images(folders)
        inner = {folder: self.with_images(self.tree.level(folder).folders) for folder in full}
        below = [folder for folders in inner.values() for folder in folders]
        has_splits = all(inner.values()) and all(meaning(folder.name) for folder in below)
        if len(full) < 2 or not has_splits or any(map(self.has_own, full)):
            return []
        if deeper := [folder for folder in below if not self.has_own(folder)]:
            raise self.error(
                f"can be read in two ways: {_names(full)} are classes, with splits in each, or sites, with splits and "
                f"classes in each (there are folders in {self.tree.name(deeper[0])}). Move the splits to the top"
            )
        try:
            meant = resolve(dict.fromkeys(folder.name for folder in below))
        except ValueError as error:
            raise self.error(f"the split folders are {_names(below)}; {error}") from None
        found = [
            ClassFolder(name.name, meant[folder.name], folder) for name, folders in inner.items() for folder in folders
        ]
        twice = [key for key, number in Counter((each.name, each.split) for each in found).items() if number > 1]
        if twice:
            raise self.error(f"{twice[0][0]} has two folders for {twice[0][1]}: each split may occur only once")
        return self.check_complete(found, {split: split for split in meant.values()})

    def refuse_hints(self, folders: Sequence[Path]) -> None:
        """Refuse folders with names unlike classes: possible splits or folds, or images next to masks."""
        found = {folder: hints(folder.name) for folder in self.with_images(folders)}
        if len(found) > 1 and (images := [folder for folder in found if folder.name.lower() in _OF_IMAGES]):
            raise self.ambiguous(
                (f"as the classes {_names(folders)}", self.set_classes(folders)),
                (f"as images without labels in {_names(images)}, which need labels.csv", ""),
            )
        named = [folder for folder, words in found.items() if words]
        kinds = set().union(*found.values())
        folds = [folder for folder, words in found.items() if "fold" in words]
        if (len(kinds - {"fold"}) > 1 or len(folds) > 1) and all(map(self.has_own, named)):
            raise self.ambiguous(
                (f"as the classes {_names(folders)}", self.set_classes(folders)),
                (f"as splits ({_names(named)}), which need one folder per class in each, or labels.csv", ""),
            )

    def classes(self, tops: Sequence[tuple[SplitName | None, Path]]) -> Sequence[ClassFolder]:
        """Return the class folders: the given folders, or the folders in them."""
        outer = sorted({folder.name for _, folder in tops})
        inside = [
            (folder.name, ClassFolder(child.name, split, child))
            for split, folder in tops
            for child in self.with_images(self.tree.level(folder).folders)
        ]
        inner = sorted({each.name for _, each in inside})
        as_outer = [ClassFolder(folder.name, split, folder) for split, folder in tops]
        if self.wanted:
            is_outer, is_inner = self.wanted <= set(outer), self.wanted <= set(inner)
            if is_outer and is_inner:
                raise self.error(
                    f"{listed(sorted(self.wanted))} are folders on two levels. Rename the folders of one level"
                )
            if is_inner:
                return [each for _, each in inside]
            if is_outer:
                return [each for each in as_outer if each.name in self.wanted or self.with_images([each.folder])]
        owners = Counter(name for _, name in {(owner, each.name) for owner, each in inside})
        are_shared = len(inner) > 1 and max(owners.values()) > 1
        if are_shared or any(each.name in outer and each.name != owner for owner, each in inside):
            raise self.ambiguous(
                (f"as the classes {listed_names(outer)}, each with all images below it", self.set_classes(outer)),
                (f"as the classes {listed_names(inner)}, found in several folders", self.set_classes(inner)),
                (f"as splits, if some of {listed_names(outer)} are splits", self.set_splits({})),
            )
        return as_outer

    def check_names(self, found: Sequence[ClassFolder]) -> Sequence[ClassFolder]:
        """Return class folders after checks: names are text and look different, and no folder in them is a split."""
        names = sorted({each.name for each in found})
        if unreadable := [name for name in names if not is_text(name)]:
            raise self.error(f"the name of class {unreadable[0]!a} is not one line of UTF-8 text. Rename the folder")
        for one, other, *_ in list_alike(names):
            raise self.error(
                f"{quoted(one)} and {quoted(other)} are two classes whose names look the same. Merge the folders, or "
                "give them more distinct names"
            )
        called = {
            child
            for each in found
            for child in self.tree.folders(each.folder, notes=False)
            if meaning(child.name) and (child != each.folder or child.name == each.name)
        }
        worded = [self.tree.name(folder) for folder in self.with_images(sorted(called))]
        if worded and not self.wanted:
            raise self.ambiguous(
                (f"as the classes {listed_names(names)}, each with all images below it", self.set_classes(names)),
                (f"as splits ({listed_names(worded)}), which belong above the classes, or in each class folder", ""),
            )
        return found

    def check_complete(self, found: Sequence[ClassFolder], folders: Mapping[SplitName, str]) -> Sequence[ClassFolder]:
        """Return class folders, after a check that each split has a folder for every class."""
        self.check_names(found)
        names = {split: {each.name for each in found if each.split == split} for split in folders}
        every = sorted(set().union(*names.values()))
        for split in SPLITS:
            if split in names and (missing := [name for name in every if name not in names[split]]):
                raise self.error(f"{folders[split]} has no folder for class {listed_names(missing)}")
        return found

    def with_images(self, folders: Iterable[Path]) -> list[Path]:
        """Return the folders that contain images, directly or further below."""
        return [
            folder for folder in folders if any(not file.is_sidecar for file in self.tree.walk(folder, notes=False))
        ]

    def has_own(self, folder: Path) -> bool:
        """Whether a folder directly contains images."""
        return bool(self.tree.level(folder).images)

    def set_classes(self, names: Iterable[Path | str]) -> str:
        """Return the option that names the classes."""
        words = sorted(name if isinstance(name, str) else name.name for name in names)
        return "--set " + shlex.quote("datasets.classes=" + json.dumps(words, ensure_ascii=False))

    def set_splits(self, splits: Mapping[Path, SplitName]) -> str:
        """Return the option that names the folders of the splits."""
        named = {split: self.tree.name(folder) for folder, split in splits.items()} or {"train": "NAME", "test": "NAME"}
        words = ", ".join(
            f"{split}: {json.dumps(named[split], ensure_ascii=False)}" for split in SPLITS if split in named
        )
        return "--set " + shlex.quote(f"datasets.splits={{{words}}}")

    def ambiguous(self, *readings: tuple[str, str]) -> UserError:
        """Return an error with the possible readings of a folder, and the option that selects each of them."""
        lines = (f"  {reading}: {option}" if option else f"  {reading}" for reading, option in readings)
        return UserError("\n".join([f"{self.place}: can be read in two ways. Say which is meant:", *lines]))

    def error(self, message: str) -> UserError:
        """Return an error that starts with the folder."""
        return UserError(f"{self.place}: {message}.")

    @property
    def place(self) -> str:
        """The folder, as a matrix names it."""
        return f"{FOLDER}{as_text(str(self.tree.root))}"


def listed_names(names: Sequence[str]) -> str:
    """Return names as part of a sentence; of many, only the first ones."""
    words = [as_text(name) for name in names[:_MOST_NAMED]]
    more = len(names) - len(words)
    return f"{', '.join(words)} and {more} more" if more else listed(words)


def _names(folders: Iterable[Path]) -> str:
    return listed_names([folder.name for folder in folders])
