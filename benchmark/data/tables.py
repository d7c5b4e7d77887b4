"""Image files listed in tables, each with its class and split; no image is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.data.catalogue import SplitName
from benchmark.data.listing import ListedFile, list_found
from benchmark.data.spelling import list_alike, normal_form, quoted
from benchmark.data.splits.words import meaning, resolve
from benchmark.data.table_file import Row, Table
from benchmark.data.tree import FoundFile, as_text, explain, look_at
from benchmark.words import listed


def list_rows(
    tables: Mapping[Path, Table], root: Path, splits: Mapping[Path, SplitName]
) -> tuple[tuple[str, ...], list[ListedFile]]:
    """Return the classes, sorted by name, and the files that tables list.

    Args:
        tables: folder that paths are relative to -> table.
        root: the dataset's folder, which contains all of these.
        splits: folder -> split, for split folders.

    Raises:
        UserError: a row has an error, or can be read in two ways; the message names its line.
    """
    rows = [(table, row) for table in tables.values() for row in table.rows]
    for column in ("label", "group"):
        _refuse_alike(column, rows)
    classes = tuple(sorted({row.label for _, row in rows}))
    labels = {name: label for label, name in enumerate(classes)}
    found: dict[Path, tuple[Table, Row]] = {}
    files = []
    for folder, table in tables.items():
        located = [_locate(table, row, folder, root) for row in table.rows]
        of_rows = _splits(table, [file.path.relative_to(root) for file in located], splits.get(folder))
        for row, file, split in zip(table.rows, located, of_rows, strict=True):
            files.append(list_found(file, root, labels[row.label], split, row.group))
            other, first = found.setdefault(file.path, (table, row))
            if first is not row:
                raise table.error(
                    row.line, f"{row.path} is listed more than once: also in {other.file.name}:{first.line}."
                )
    return classes, files


def _refuse_alike(column: str, rows: Sequence[tuple[Table, Row]]) -> None:
    """Refuse two labels, or two groups, that look the same."""
    first: dict[str, tuple[Table, Row]] = {}
    for table, row in rows:
        if value := getattr(row, column):
            if not normal_form(value):
                raise table.error(row.line, f"{column} {quoted(value)} has no visible character.")
            first.setdefault(value, (table, row))
    for one, other, *_ in list_alike(first):
        (table, row), (elsewhere, second) = first[one], first[other]
        raise elsewhere.error(
            second.line,
            f"{column} {quoted(other)} looks the same as {quoted(one)} of {table.file.name}:{row.line}. "
            "Write one of them everywhere, or use more distinct names.",
        )


def _locate(table: Table, row: Row, folder: Path, root: Path) -> FoundFile:
    """Return the file that a row names, by its path below the root."""
    name = row.path
    if "://" in name:
        raise table.error(row.line, f"{name} is a URL, not a file. Download the images, and name their files.")
    found, reasons = [], []
    for text in dict.fromkeys((name, name.replace("\\", "/"))):
        try:
            found.append(look_at(folder / text))
        except OSError as error:
            reasons.append(explain(folder / text, error))
    if len(found) > 1:
        raise table.error(row.line, f"{name} is a file, and so is {found[1].path}. Rename one of them.")
    if not found:
        advice = ", nor with / instead of \\" if len(reasons) > 1 else _advice(folder / name)
        raise table.error(row.line, f"{as_text(str(folder / name))} {reasons[0]}{advice}.")
    if found[0].problem:
        raise table.error(row.line, f"{name} is {found[0].problem}.")
    path = found[0].path
    if path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts:
        return found[0]
    real, place = path.parent.resolve() / path.name, root.resolve()
    if not real.is_relative_to(place):
        raise table.error(row.line, f"{name} is outside of {root}, the folder of the dataset. Copy the images there.")
    return replace(found[0], path=root / real.relative_to(place))


def _advice(missing: Path) -> str:
    """Return a hint about a path that does not exist, to append to the message."""
    if str(missing.name).startswith("~") or any(part.startswith("~") for part in missing.parts):
        return "; ~ is not the home folder here: write the path relative to the table"
    try:
        near = [
            child.name for child in missing.parent.iterdir() if normal_form(child.name) == normal_form(missing.name)
        ]
    except OSError:
        return ""
    return f"; there is {quoted(near[0])}" if near else ""


def _splits(table: Table, paths: Sequence[Path], given: SplitName | None) -> Sequence[SplitName | None]:
    """Return the split of each row: of the table's folder, of the row, or (metadata only) of a folder in its path."""
    filled = [row for row in table.rows if row.split]
    if given is not None and filled:
        raise table.error(filled[0].line, f"split is {filled[0].split!r}, but the table is in the folder of a split.")
    if given is not None:
        return [given] * len(paths)
    if not filled:
        return [None] * len(paths) if table.has_splits else _splits_of_paths(table, paths)
    for row in table.rows:
        if not row.split:
            raise table.error(row.line, "split is empty, but not in other rows.")
        if meaning(row.split) is None:
            raise table.error(row.line, f"split {row.split!r} is not one of train, validation, test.")
    words = [row.split for row in table.rows if row.split]
    meant = _resolve(table, words)
    return [meant[word] for word in words]


def _splits_of_paths(table: Table, paths: Sequence[Path]) -> Sequence[SplitName | None]:
    names = [next((part for part in path.parts[:-1] if meaning(part)), None) for path in paths]
    words = [name for name in names if name is not None]
    kinds = {meaning(word) for word in words}
    if "train" not in kinds or len(kinds) < 2:
        return [None] * len(paths)
    if table.is_metadata and len(words) == len(names):  # as in the imagefolder convention
        meant = _resolve(table, words)
        return [meant[word] for word in words]
    raise table.error(
        1,
        f"can be read in two ways: images are in folders with names of splits, {listed(sorted(set(words)))}, "
        "but the table has no column split. Add one: with train, validation and test, or empty to draw the splits.",
    )


def _resolve(table: Table, words: Sequence[str]) -> dict[str, SplitName]:
    try:
        return resolve(dict.fromkeys(words))
    except ValueError as error:
        raise table.error(1, f"the splits are {listed(sorted(set(words)))}; {error}.") from None
