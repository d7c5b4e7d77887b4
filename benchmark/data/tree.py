"""Folders on disk: their files, folders, links and special files. Nothing is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.errors import UserError

_OF_SYSTEMS = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "system volume information", "lost+found"),
        *("$recycle.bin", "#recycle", "@recycle", "@eadir"),
    )
)
"""Names that operating systems and file servers leave in folders, in addition to those that start with a dot."""

_SIDECARS = frozenset(
    (
        *(".txt", ".md", ".rst", ".rtf", ".log", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml"),
        *(".ini", ".cfg", ".html", ".htm", ".py", ".ipynb", ".sh", ".bat", ".xls", ".xlsx", ".doc", ".docx", ".lnk"),
    )
)
"""Suffixes of files that are not images, but often accompany them."""

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}

_Identity = tuple[int, int]  # device and inode of a folder

HIDDEN = "hidden or system files"
CIRCLES = "links to folders that are already included, or above"
"""Reasons for leaving entries out."""


@dataclass(frozen=True)
class FoundFile:
    """A file, or something else found in its place.

    Attributes:
        path: the path by which it was reached, through links.
        problem: the reason why it cannot be opened, if known without trying (a broken link, a pipe), else None.
    """

    path: Path
    problem: str | None = None

    @property
    def is_sidecar(self) -> bool:
        """Whether its name says that it is not an image."""
        return self.path.suffix.lower() in _SIDECARS


def look_at(path: Path) -> FoundFile:
    """Return what is at a path; nothing is opened.

    Raises:
        OSError: nothing is there, or access is denied.
    """
    return _as_found(path, path.stat())


def _as_found(path: Path, status: os.stat_result) -> FoundFile:
    if stat.S_ISREG(status.st_mode):
        return FoundFile(path)
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    return FoundFile(path, f"{kind}, not a file")


@dataclass(frozen=True)
class Level:
    """The entries of one folder, sorted by name: its files, and its folders, links to folders last."""

    files: tuple[FoundFile, ...]
    folders: tuple[Path, ...]

    @property
    def images(self) -> list[FoundFile]:
        """The files that may be images, by their names."""
        return [file for file in self.files if not file.is_sidecar]


class Tree:
    """A folder and its subfolders: each is read once, links are followed, and what is left out is noted.

    Attributes:
        root: the folder.
        left_out: reason -> names, below the root, of the entries left out so far.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: dict[str, dict[str, None]] = {}
        self._levels: dict[Path, Level] = {}
        self._identities: dict[Path, _Identity] = {}

    def level(self, folder: Path) -> Level:
        """Return the entries of a folder, without links to itself or to a folder above it.

        Raises:
            UserError: it cannot be read.
        """
        if folder not in self._levels:
            self._levels[folder] = self._read(folder)
        return self._levels[folder]

    def walk(self, folder: Path, *, notes: bool) -> Iterator[FoundFile]:
        """Yield the files of a folder and its subfolders; a folder that is reached twice is walked once.

        Args:
            folder: the root or a subfolder.
            notes: whether a folder that is reached again is noted as left out.

        Raises:
            UserError: a folder cannot be read.
        """
        for current in self.folders(folder, notes=notes):
            yield from self.level(current).files

    def folders(self, folder: Path, *, notes: bool) -> Iterator[Path]:
        """Yield a folder and its subfolders; the arguments and errors are those of `walk`."""
        taken: set[_Identity] = set()
        left = [folder]
        while left:
            current = left.pop()
            if self._identity(current) not in taken:
                taken.add(self._identity(current))
                yield current
                left += reversed(self.level(current).folders)
            elif notes:
                self.leave_out(CIRCLES, current)

    def name(self, path: Path) -> str:
        """Return a path's name in the dataset: below the root, with ``/``, as text."""
        return as_text(path.relative_to(self.root).as_posix())

    def key(self, path: Path) -> Hashable:
        """Return a key that is equal for two paths of the same entry, however it was reached."""
        return self._identity(path.parent), path.name

    def leave_out(self, reason: str, path: Path) -> None:
        """Note that an entry is left out."""
        self.left_out.setdefault(reason, {})[self.name(path)] = None

    def _identity(self, folder: Path) -> _Identity:
        if folder not in self._identities:
            self._identities[folder] = _identity_of(folder.stat())
        return self._identities[folder]

    @cached_property
    def _above(self) -> set[_Identity]:
        root = self.root.resolve()
        return {_identity_of(folder.stat()) for folder in (root, *root.parents)}

    def _read(self, folder: Path) -> Level:
        files: list[FoundFile] = []
        folders: list[tuple[bool, Path]] = []
        inside = [each for each in (folder, *folder.parents) if each.is_relative_to(self.root)]
        above = {*self._above, *map(self._identity, inside)}
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    path = folder / entry.name
                    if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
                        self.leave_out(HIDDEN, path)
                        continue
                    try:
                        status = entry.stat()
                    except OSError as error:
                        files.append(FoundFile(path, explain(path, error)))
                        continue
                    if not stat.S_ISDIR(status.st_mode):
                        files.append(_as_found(path, status))
                    elif _identity_of(status) in above:
                        self.leave_out(CIRCLES, path)
                    else:
                        folders.append((entry.is_symlink(), path))
                        self._identities[path] = _identity_of(status)
        except OSError as error:
            raise UserError(f"{as_text(str(folder))}: this folder cannot be read ({error.strerror}).") from None
        return Level(tuple(files), tuple(path for _, path in sorted(folders)))


def _identity_of(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def explain(path: Path, error: OSError) -> str:
    """Return the reason, in words, why a path cannot be read."""
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {as_text(str(path.readlink()))}, which does not exist"
    if error.errno == errno.ENOENT:
        return "does not exist"
    return "a link that leads back to itself" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"


def as_text(name: str) -> str:
    r"""Return a name as text: bytes that are not UTF-8 are written as ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
