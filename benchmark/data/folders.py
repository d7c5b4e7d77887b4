"""A user's own images: ``folder:PATH`` in a matrix.

PATH is a folder with one folder per class; or the same below split folders (train, val or valid or validation, test),
of which two may be enough: the second is then the test split; or a CSV file with the columns path, label and optionally
split and group, whose paths are relative to the file; or a folder with such a file, ``labels.csv``. Images of one group
(a patient, a clip, a part seen twice) stay on one side of every split drawn here. A small one without a test split is
evaluated by cross-validation (`benchmark.data.splits.rules`).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmark.data.catalogue import FOLDER, SplitName
from benchmark.data.listing import ListedFile, Listing, files_below, folders_in, list_file, make_listing
from benchmark.data.source import DatasetSource, Splits
from benchmark.errors import UserError, nearest

_SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_COLUMNS = ("path", "label", "split", "group")
_SYNONYMS = {
    **dict.fromkeys(("file", "files", "filename", "filepath", "image", "images", "img", "name"), "path"),
    **dict.fromkeys(("class", "classname", "category", "target"), "label"),
    **dict.fromkeys(("fold", "set", "subset", "partition"), "split"),
    **dict.fromkeys(("patient", "subject", "person", "case", "clip", "video", "session", "module", "unit"), "group"),
    **dict.fromkeys(("patientid", "subjectid", "caseid", "groupid"), "group"),
}
"""Other names of the columns, too different in spelling to be recognised by it."""

_LAYOUTS = (
    "expected one folder per class, or train / val / test folders with one folder per class in each, "
    "or labels.csv with the columns path,label[,split][,group]"
)


def list_folder(source: DatasetSource) -> Listing:
    """Return the files of a user's folder, or of a CSV file, of all its classes.

    Raises:
        UserError: it is missing, or in none of the layouts.
    """
    path = Path(source.name.removeprefix(FOLDER)).expanduser()
    if not path.exists():
        raise UserError(f"folder:{path}: there is no such folder; {_LAYOUTS}.")
    table = path if path.is_file() else path / "labels.csv"
    if table.is_file():
        classes, files = _table(table)
    else:
        classes, files = _tree(path, source.splits)
    if len(classes) < 2:
        raise UserError(f"folder:{path}: {len(classes)} class found, a classifier needs two; {_LAYOUTS}.")
    found = {file.split for file in files}
    if "validation" in found and "test" not in found:  # the second of two splits is the test split
        files = [replace(file, split="test") if file.split == "validation" else file for file in files]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-.") or "folder"
    return make_listing(name, f"{FOLDER}{path}", classes, files)


def _tree(root: Path, given: Splits | None) -> tuple[tuple[str, ...], list[ListedFile]]:
    if given is not None:
        words: list[SplitName | None] = [*given.folders]
        names = [*given.folders.values()]
        for name in names:
            if not (root / name).is_dir():
                raise UserError(f"folder:{root}: splits names {name}, and there is no such folder.")
    else:
        names = folders_in(root)
        words = [_SPLIT_WORDS.get(name.lower()) for name in names]
    if not names or None in words:
        return tuple(names), list(_class_files(root, root, tuple(names), None))
    if "train" not in words or len(set(words)) != len(words):
        raise UserError(f"folder:{root}: the split folders are {', '.join(names)}; one must be train, each only once.")
    classes = tuple(sorted({name for folder in names for name in folders_in(root / folder)}))
    for folder in names:
        missing = sorted(set(classes) - set(folders_in(root / folder)))
        if missing:
            raise UserError(f"folder:{root}: {folder} has no folder for class {', '.join(missing)}; {_LAYOUTS}.")
    files: list[ListedFile] = []
    for folder, word in zip(names, words, strict=True):
        files += _class_files(root, root / folder, classes, word)
    return classes, files


def _class_files(root: Path, folder: Path, classes: tuple[str, ...], split: SplitName | None) -> Iterator[ListedFile]:
    for label, name in enumerate(classes):
        for path in files_below(folder / name):
            yield list_file(path, root, label, split)


def _table(table: Path) -> tuple[tuple[str, ...], list[ListedFile]]:
    with table.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        _check_header(table, list(reader.fieldnames or ()))
        rows = [(reader.line_num, row) for row in reader]
    classes = tuple(sorted({row["label"].strip() for _, row in rows if row["label"]}))
    files = [_row(table, number, row, classes) for number, row in rows]
    duplicates = [name for name, count in Counter(file.id for file in files).items() if count > 1]
    if duplicates:
        raise UserError(f"folder:{table}: named more than once: {', '.join(sorted(duplicates)[:20])}.")
    return classes, files


def _check_header(table: Path, columns: list[str]) -> None:
    """Raise UserError if the first line is not path,label[,split][,group] in any order, with the names meant."""
    problems = [f"{word!r} is listed {count} times" for word, count in Counter(columns).items() if count > 1]
    free = {word for word in _COLUMNS if word not in columns}
    meant = {word: _meant(word, free) for word in columns if word not in _COLUMNS}
    for word, near in meant.items():
        problems.append(f"unknown column {word!r}" + (f" (did you mean {near!r}?)" if near else ""))
    problems += [f"column {word} is missing" for word in sorted(free - {"split", "group", *meant.values()})]
    if problems:
        raise UserError(
            f"folder:{table}:1: {'; '.join(problems)}; expected the columns path,label[,split][,group], "
            "separated by commas."
        )


def _meant(word: str, free: set[str]) -> str | None:
    clean = re.sub(r"[^a-z]+", "", word.lower())
    near = _SYNONYMS.get(clean) or nearest(clean, free)
    return near if near in free else None


def _row(table: Path, number: int, row: dict[str, str], classes: tuple[str, ...]) -> ListedFile:
    place = f"folder:{table}:{number}"
    name, label, word = ((row.get(key) or "").strip() for key in ("path", "label", "split"))
    if not name or not label:
        raise UserError(f"{place}: path or label is empty.")
    if "split" in row and word.lower() not in _SPLIT_WORDS:
        raise UserError(f"{place}: split {word!r} is not one of {', '.join(_SPLIT_WORDS)}.")
    path = table.parent / name
    if not path.is_relative_to(table.parent):
        raise UserError(f"{place}: {path} is not relative to the file.")
    if not path.is_file():
        raise UserError(f"{place}: {path} does not exist.")
    split = _SPLIT_WORDS[word.lower()] if word else None
    return list_file(path, table.parent, classes.index(label), split, (row.get("group") or "").strip() or None)
