"""A list of unopened image files: the common result of all layouts."""

from __future__ import annotations

import hashlib
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
        bytes, modified: size, and time of change in nanoseconds.
    """

    id: str
    path: Path
    label: int
    split: SplitName | None
    clip: str | None
    bytes: int
    modified: int


@dataclass(frozen=True)
class Listing:
    """A dataset's files in the order of their ids.

    Attributes:
        name: the dataset's name, fit for a file name.
        source: a catalogue name, or ``folder:PATH``.
        classes: names in label order.
        files: all of them.
        key: 16 hexadecimal digits over names, labels, splits, sizes and times of change: equal while nothing changed.
        notes: facts that a reader of results must know, e.g. that images are missing.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    key: str
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> Counter[SplitName]:
        """Number of files by official split; those without one count as ``train``."""
        return Counter(file.split or "train" for file in self.files)

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
    """Sort files by id and compute the listing's key.

    Raises:
        UserError: a class has no image.
    """
    ordered = tuple(sorted(files, key=lambda file: file.id))
    present = {file.label for file in ordered}
    empty = [word for label, word in enumerate(classes) if label not in present]
    if empty:
        raise UserError(f"dataset {source}: no image of class {', '.join(empty)} was found.")
    digest = hashlib.sha256(repr(classes).encode())
    for file in ordered:
        facts = (file.id, str(file.path), file.label, file.split, file.clip, file.bytes, file.modified)
        digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    return Listing(name, source, classes, ordered, digest.hexdigest()[:16], notes)


def list_file(path: Path, root: Path, label: int, split: SplitName | None, clip: str | None = None) -> ListedFile:
    """Return the entry of one existing file below a root."""
    status = path.stat()
    name = path.relative_to(root).as_posix()
    return ListedFile(name, path, label, split, clip, status.st_size, status.st_mtime_ns)


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
