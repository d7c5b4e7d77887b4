"""A user's own images: ``folder:PATH`` in a matrix; and a repository of the hub that was downloaded, read like them.

PATH is a folder with one folder per class, with split folders (train, validation, test, or synonyms of these) and class
folders in each, or with class folders and split folders in each; or a table of images (`benchmark.data.table_file`), a
folder with a table, or split folders with a table in each. With two splits, the second one is the test split. One more
folder around any of these does not matter. Images of one group (a patient, a clip, a part photographed twice) are never
separated by a split drawn here. A small folder without a test split is evaluated by cross-validation
(`benchmark.data.splits.rules`).

A folder that can be read in two ways is refused; the keys ``splits`` and ``classes`` of its entry say what is meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmark.data.catalogue import FOLDER, SplitName
from benchmark.data.class_folders import ClassFolder, Layout
from benchmark.data.listing import ListedFile, Listing, Remark, list_found, make_listing
from benchmark.data.source import DatasetSource
from benchmark.data.table_file import COLUMNS, ENDINGS, LABELS, Table, find_table, read_table
from benchmark.data.tables import list_rows
from benchmark.data.tree import CIRCLES, Tree, as_text, look_at
from benchmark.errors import UserError, did_you_mean
from benchmark.locations import cache_directory, expand_home
from benchmark.words import count, slug

_LAYOUTS = (
    "expected one folder per class, or train / val / test folders with one folder per class in each, "
    f"or labels.csv with the columns {COLUMNS}"
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def list_folder(source: DatasetSource) -> Listing:
    """Return the files of all classes of a user's folder or table.

    Raises:
        UserError: it is missing, has none of the layouts, or can be read in two ways.
    """
    repository = source.repository
    path = _path(source.name.removeprefix(FOLDER)) if repository is None else _downloaded(source)
    is_table = path.is_file()
    tree = Tree(path.parent if is_table else path)
    tables: Mapping[Path, Table] = {path.parent: read_table(path)} if is_table else {}
    splits: Mapping[Path, SplitName] = {}
    if not is_table:
        layout = Layout(tree, source)
        tables, splits = _tables(layout)
    nested: list[Path] = []
    if tables:
        if source.splits is not None and not splits:
            raise UserError(f"folder:{path}: splits names folders, but a table needs a column split instead.")
        classes, files = list_rows(tables, tree.root, splits)
    else:
        found = layout.class_folders()
        classes, files = _images(tree, found)
        nested = [child for each in found for child in layout.with_images(tree.level(each.folder).folders)]
    if len(classes) < 2:
        named = [file.path.name for file in tree.level(tree.root).files if file.path.suffix.lower() in ENDINGS]
        hint = f" To use a table with another name, write folder:{path / named[0]}." if named and not tables else ""
        raise UserError(f"folder:{path}: {len(classes)} class found, but a classifier needs two; {_LAYOUTS}.{hint}")
    for wanted in source.classes or ():
        if wanted not in classes:
            raise UserError(f"folder:{path}: no class {wanted!r}.{did_you_mean(wanted, classes)}")
    left = [] if is_table else _left_out(tree, files, [table.file for table in tables.values()])
    remarks = (*_taken(tree, nested), *_unused(tables.values()), *left)
    if repository is not None:
        return make_listing(slug(repository.id), source.name, classes, files, remarks=remarks)
    name = slug(path.resolve().stem) or "folder"
    return make_listing(name, f"{FOLDER}{path}", classes, files, remarks=remarks)


def repository_folder(source: DatasetSource) -> Path:
    """Return where the images of a repository of the hub belong: a folder of their own for each commit and choice."""
    repository = source.repository
    assert repository is not None, "a folder of the user's has its own place"
    chosen = [repository.folder, repository.columns]
    part = f"-{hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]}" if any(chosen) else ""
    return cache_directory() / "hub" / repository.id / f"{repository.revision}{part}"


def _downloaded(source: DatasetSource) -> Path:
    folder = repository_folder(source)
    if not folder.is_dir():
        raise UserError(
            f"{source.name}: not on this machine. Fetch it with `python -m benchmark datasets prepare {source.name}`."
        )
    return folder


def _path(place: str) -> Path:
    """Return the path of a folder or a table.

    Raises:
        UserError: it is neither.
    """
    if place != as_text(place):
        raise UserError(f"folder:{as_text(place)}: this name is not UTF-8 text. Rename the folder.")
    try:
        path = expand_home(Path(place))
        found = look_at(path)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError) and not Path(place).is_symlink()
        why = "there is no such folder" if missing else f"it cannot be opened ({error})"
        raise UserError(f"folder:{place}: {why}; {_LAYOUTS}.") from None
    if path.is_dir():
        if path.resolve() == Path(path.anchor).resolve():
            raise UserError(f"folder:{place}: this is the root of the file system. Name the folder of the images.")
        return path
    if found.problem is not None:
        raise UserError(f"folder:{place}: this is {found.problem}. Name the folder of the images.")
    if path.suffix.lower() in _ARCHIVES:
        raise UserError(f"folder:{place}: this is an archive. Unpack it and name the folder.")
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"folder:{place}: this is a file. Name the folder that has one folder of images per class.")
    return path


def _tables(layout: Layout) -> tuple[Mapping[Path, Table], Mapping[Path, SplitName]]:
    """Return the tables of a folder, or of its split folders, by folder; and the split folders."""
    own = find_table(layout.tree.level(layout.base))
    if own is not None:
        return {layout.base: read_table(own)}, {}
    found = {folder: find_table(layout.tree.level(folder)) for folder in layout.splits}
    if not any(found.values()):
        return {}, {}
    for folder, table in found.items():
        if table is None:
            raise layout.error(f"{layout.tree.name(folder)} has no table of its images, but other splits have one")
    return {folder: read_table(table) for folder, table in found.items() if table}, layout.splits


def _images(tree: Tree, found: Sequence[ClassFolder]) -> tuple[tuple[str, ...], list[ListedFile]]:
    """Return the classes, sorted by name, and the images of class folders."""
    classes = tuple(sorted({each.name for each in found}))
    files = [
        list_found(file, tree.root, classes.index(each.name), each.split)
        for each in found
        for file in tree.walk(each.folder, notes=True)
        if not file.is_sidecar
    ]
    return classes, files


def _taken(tree: Tree, nested: Iterable[Path]) -> Iterator[Remark]:
    names = tuple(sorted({*map(tree.name, nested)} - {*tree.left_out.get(CIRCLES, ())}))
    if names:
        text = f"taken: the images of {count(len(names), 'folder')} inside class folders, as images of these classes"
        yield Remark(text, names, matters=True)


def _unused(tables: Iterable[Table]) -> Iterator[Remark]:
    columns = tuple(sorted({column for table in tables for column in table.unused}))
    if columns:
        yield Remark(f"left out: {count(len(columns), 'column')} of the metadata, not used", columns, matters=False)


def _left_out(tree: Tree, files: Iterable[ListedFile], tables: Iterable[Path]) -> Iterator[Remark]:
    """Yield a remark about each kind of file below a folder that is not among its images.

    Raises:
        UserError: there is a broken link, which may have led to a class or its images.
    """
    named = {*(file.path for file in files), *tables}
    loose, others = "not in the table" if tables else "in no class folder", f"tables that are not named {LABELS}"
    left = [file for file in tree.walk(tree.root, notes=False) if file.path not in named]
    taken = {tree.key(path) for path in named} if left else set()  # a file reached by a link has another path here
    for file in left:
        if tree.key(file.path) not in taken:
            ending = file.path.suffix.lower()
            if ending in ENDINGS:
                tree.leave_out(others, file.path)
            elif file.is_sidecar:
                tree.leave_out(f"not images by their names (*{ending})", file.path)
            elif file.problem and file.path.is_symlink() and not tables:
                raise UserError(f"folder:{tree.root}: {tree.name(file.path)} is {file.problem}. Remove or restore it.")
            else:
                tree.leave_out(loose, file.path)
    for reason, names in sorted(tree.left_out.items()):
        text = f"left out: {count(len(names), 'entry', 'entries')}, {reason}"
        yield Remark(text, tuple(sorted(names)), matters=reason in (loose, others, CIRCLES))
