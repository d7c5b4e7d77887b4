"""List of unopened image files, the common result of all layouts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.data.catalogue import CATALOGUE, SplitName
from benchmark.data.splits.rules import Evaluation, uses_folds
from benchmark.data.tree import FoundFile, Tree, as_text, look_at
from benchmark.errors import UserError


@dataclass(frozen=True)
class ListedFile:
    """One image file, unopened.

    Attributes:
        id: the path below the dataset's root, with ``/``: unique, and the same on every machine.
        path: the file.
        label: position in the classes.
        split: the official split, or None if the dataset has no splits.
        clip: the clip, patient or other group, from the file's name or a table, or None if unknown.
        problem: the reason why it cannot be opened, if known without trying (`benchmark.data.tree.FoundFile`), else
            None.
    """

    id: str
    path: Path
    label: int
    split: SplitName | None
    clip: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Remark:
    """Something in a user's folder that was left out, or read in a way that the user should know.

    Attributes:
        text: one line, which starts with ``left out`` or ``taken``.
        names: names of the files or folders, sorted.
        matters: whether images may be missing because of it; every run then prints it, and its record notes it.
    """

    text: str
    names: tuple[str, ...]
    matters: bool

    def __str__(self) -> str:
        return f"{self.text}: {', '.join(self.names[:3])}{', …' if len(self.names) > 3 else ''}"


@dataclass(frozen=True)
class Listing:
    """A dataset's files in the order of their ids.

    Attributes:
        name: the dataset's name, usable in file names.
        source: a catalogue name, or ``folder:PATH``.
        classes: names in label order.
        files: all files.
        notes: facts that readers of results must know, e.g. that images are missing.
        remarks: parts of a user's folder that are left out, or read in a way that may surprise.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def sizes(self) -> Counter[SplitName]:
        """Number of files by official split; those without one count as ``train``."""
        return Counter(file.split or "train" for file in self.files)

    @property
    def important(self) -> tuple[Remark, ...]:
        """The remarks that may mean missing images."""
        return tuple(remark for remark in self.remarks if remark.matters)

    def part(self, keep: Iterable[bool], note: str) -> Listing:
        """Return a listing of some files; the note says why the others are left out.

        Raises:
            UserError: a class has no file left.
        """
        files = itertools.compress(self.files, keep)
        notes = (*self.notes, note)
        return make_listing(self.name, self.source, self.classes, files, notes=notes, remarks=self.remarks)

    def uses_folds(self, evaluation: Evaluation) -> bool:
        """Whether it is evaluated by cross-validation, see `rules.uses_folds`; missing images do not change that."""
        images = CATALOGUE[self.source].images if self.source in CATALOGUE else self.sizes
        return uses_folds(images, evaluation)


def make_listing(
    name: str,
    source: str,
    classes: tuple[str, ...],
    files: Iterable[ListedFile],
    *,
    notes: tuple[str, ...] = (),
    remarks: tuple[Remark, ...] = (),
) -> Listing:
    """Return a listing, its files sorted by id.

    Raises:
        UserError: a class has no image, or two files have the same id.
    """
    ordered = tuple(sorted(files, key=lambda file: file.id))
    for one, other in itertools.pairwise(ordered):
        if one.id == other.id:
            raise UserError(f"dataset {source}: two file names are the same as text, {one.id}. Rename one of them.")
    present = {file.label for file in ordered}
    empty = [word for label, word in enumerate(classes) if label not in present]
    if empty:
        raise UserError(f"dataset {source}: no image of class {', '.join(empty)} was found.")
    return Listing(name, source, classes, ordered, notes, remarks)


def list_file(path: Path, root: Path, label: int, split: SplitName | None, clip: str | None = None) -> ListedFile:
    """Return the entry of one existing file below a root."""
    return list_found(look_at(path), root, label, split, clip)


def list_found(
    found: FoundFile, root: Path, label: int, split: SplitName | None, clip: str | None = None
) -> ListedFile:
    """Return the entry of a file below a root, or of something else found in its place."""
    name = as_text(found.path.relative_to(root).as_posix())
    return ListedFile(name, found.path, label, split, clip, found.problem)


def files_below(folder: Path) -> Iterator[FoundFile]:
    """Yield the files of a folder and its subfolders, except for hidden files and system files."""
    return Tree(folder).walk(folder, notes=False)


def folders_in(folder: Path) -> list[str]:
    """Return the names of a folder's visible subfolders, sorted."""
    return sorted(child.name for child in Tree(folder).level(folder).folders)
