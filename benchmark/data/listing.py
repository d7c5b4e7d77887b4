"""A list of unopened image files: the common result of all layouts."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.catalogue import SplitName
from benchmark.data.splits.rules import Evaluation, uses_folds
from benchmark.errors import UserError


@dataclass(frozen=True)
class ListedFile:
    """One image file, unopened.

    Attributes:
        id: the path below the dataset's root, with ``/``: unique, and the same on every machine.
        path: the file.
        label: position in the classes.
        split: the official split, or None if the dataset has no splits.
        clip: the clip, patient or other group it was taken from, by its name or its table, or None if neither says.
    """

    id: str
    path: Path
    label: int
    split: SplitName | None
    clip: str | None


@dataclass(frozen=True)
class Listing:
    """A dataset's files in the order of their ids.

    Attributes:
        name: the dataset's name, fit for a file name.
        source: a catalogue name, or ``folder:PATH``.
        classes: names in label order.
        files: all of them.
        notes: facts that a reader of results must know, e.g. that images are missing.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> Counter[SplitName]:
        """Number of files by official split; those without one count as ``train``."""
        return Counter(file.split or "train" for file in self.files)

    def part(self, keep: Iterable[bool], note: str) -> Listing:
        """Return some of the files; the note says why the others are left out.

        Raises:
            UserError: a class has no file left.
        """
        files = itertools.compress(self.files, keep)
        return make_listing(self.name, self.source, self.classes, files, notes=(*self.notes, note))

    def uses_folds(self, evaluation: Evaluation) -> bool:
        """Whether it is evaluated by cross-validation, see `rules.uses_folds`."""
        return uses_folds(self.source, self.sizes, evaluation)


def make_listing(
    name: str,
    source: str,
    classes: tuple[str, ...],
    files: Iterable[ListedFile],
    *,
    notes: tuple[str, ...] = (),
) -> Listing:
    """Return a listing, its files sorted by id.

    Raises:
        UserError: a class has no image.
    """
    ordered = tuple(sorted(files, key=lambda file: file.id))
    present = {file.label for file in ordered}
    empty = [word for label, word in enumerate(classes) if label not in present]
    if empty:
        raise UserError(f"dataset {source}: no image of class {', '.join(empty)} was found.")
    return Listing(name, source, classes, ordered, notes)


def list_file(path: Path, root: Path, label: int, split: SplitName | None, clip: str | None = None) -> ListedFile:
    """Return the entry of one existing file below a root."""
    return ListedFile(path.relative_to(root).as_posix(), path, label, split, clip)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders; hidden files and those of file managers are left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                yield Path(parent, name)


def folders_in(folder: Path) -> list[str]:
    """Return the names of a folder's visible subfolders, sorted."""
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
