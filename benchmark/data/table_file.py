"""Tables of a user's images.

``labels.csv`` has the columns path, label and optionally split and group; ``metadata.csv`` and ``metadata.jsonl`` are
those of Hugging Face's imagefolder: file_name, label, optionally split and group, and columns that are not used. Text
is UTF-8, or another Unicode encoding with a byte order mark (BOM); cells are separated by commas, semicolons or tabs,
whichever the first line has. A row that can be read in two ways is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.catalogue import FOLDER
from benchmark.data.spelling import is_text
from benchmark.data.tree import Level
from benchmark.errors import UserError, nearest
from benchmark.words import listed

LABELS, METADATA = "labels.csv", ("metadata.csv", "metadata.jsonl")
ENDINGS = (".csv", ".tsv", ".jsonl")
"""Suffixes of files that are read as tables."""

COLUMNS = "path,label[,split][,group]"

_SYNONYMS = {
    **dict.fromkeys(("file", "files", "filename", "filepath", "image", "images", "img", "name"), "path"),
    **dict.fromkeys(("class", "classname", "category", "target"), "label"),
    **dict.fromkeys(("fold", "set", "subset", "partition"), "split"),
    **dict.fromkeys(("patient", "subject", "person", "case", "clip", "video", "session", "module", "unit"), "group"),
    **dict.fromkeys(("patientid", "subjectid", "caseid", "groupid"), "group"),
}
"""Synonyms of the columns, too different to be recognised as misspellings."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")


@dataclass(frozen=True)
class Row:
    """One image of a table.

    Attributes:
        line: number of the line in the file, from 1.
        path, label: as written, without surrounding spaces; not empty.
        split, group: likewise, or None if the table, or the row, has none.
    """

    line: int
    path: str
    label: str
    split: str | None
    group: str | None


@dataclass(frozen=True)
class Table:
    """The rows of a table, whether it has a column of splits, and the names of unused columns."""

    file: Path
    rows: tuple[Row, ...]
    has_splits: bool
    unused: tuple[str, ...]

    @property
    def is_metadata(self) -> bool:
        """Whether it follows the imagefolder convention."""
        return _is_metadata(self.file)

    def error(self, line: int, message: str) -> UserError:
        """Return an error that starts with the file and the line."""
        return _error(self.file, line, message)


def find_table(level: Level) -> Path | None:
    """Return the table among the files of a folder, or None.

    Raises:
        UserError: there are several, or one that must be looked into cannot be read.
    """
    named = [file for file in level.files if file.path.name.lower() in (LABELS, *METADATA)]
    for file in named:
        if file.problem is not None:  # reading a pipe would wait forever
            raise UserError(f"{FOLDER}{file.path}: this is {file.problem}.")
    tables = [file.path for file in named if not _is_metadata(file.path) or "file_name" in _columns(file.path)]
    if len(tables) > 1:
        names = listed([path.name for path in tables])
        raise UserError(f"{FOLDER}{tables[0].parent}: {names} are tables of the images, which may disagree. Keep one.")
    return tables[0] if tables else None


def read_table(file: Path) -> Table:
    """Read a table.

    Raises:
        UserError: it has an error, or can be read in two ways; the message names the line.
    """
    if file.suffix.lower() == ".jsonl":
        records = [(line, _as_cells(file, line, row)) for line, row in _json(file)]
        columns = list(dict.fromkeys(key for _, row in records for key in row))
    else:
        columns, cells = _csv(file)
        records = [(line, dict(zip(columns, row, strict=True))) for line, row in cells]
    if _is_metadata(file):
        missing = [word for word in ("file_name", "label") if word not in columns]
        if missing:
            raise _error(
                file, 1, f"column {listed(missing)} is missing; expected file_name, label and optionally split, group."
            )
    else:
        _check_header(file, columns)
    path = "file_name" if _is_metadata(file) else "path"
    used = (path, "label", "split", "group")
    rows = []
    for line, record in records:
        name, label, split, group = (record.get(key, "").strip() for key in used)
        if not name or not label:
            raise _error(file, line, f"{path} or label is empty.")
        if unreadable := [cell for cell in (name, label, group) if not is_text(cell)]:
            raise _error(file, line, f"{unreadable[0]!a} is not one line of text.")
        rows.append(Row(line, name, label, split or None, group or None))
    return Table(file, tuple(rows), "split" in columns, tuple(word for word in columns if word not in used))


def _is_metadata(file: Path) -> bool:
    return file.name.lower() in METADATA


def _error(file: Path, line: int, message: str) -> UserError:
    return UserError(f"{FOLDER}{file}:{line}: {message}")


def _columns(file: Path) -> list[str]:
    """Return the names of the columns of a metadata table."""
    if file.suffix.lower() == ".jsonl":
        return next(([*row] for _, row in _json(file)), [])
    first = _text(file).splitlines()[:1]
    return next(csv.reader(first, delimiter=_marks("".join(first))[0]), [])


def _text(file: Path) -> str:
    """Return the text of a table.

    Raises:
        UserError: it cannot be read, has an unknown encoding, or contains characters that no text has.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{FOLDER}{file}: cannot be read ({error.strerror}).") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding.startswith("utf-8") and b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise _error(file, line, "byte 0 does not occur in text: the table is damaged, or UTF-16. Save it as UTF-8.")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(
            file,
            line,
            f"byte {content[error.start]:#04x} is not {encoding.upper()}. Save the table as UTF-8, "
            "e.g. with `iconv -f LATIN1 -t UTF-8`, from its encoding.",
        ) from None
    if found := _NO_TEXT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _error(
            file,
            line,
            f"the character {found.group()!a} does not occur in text: the table is damaged, or was saved in another "
            "encoding. Save it as UTF-8.",
        )
    return text


def _csv(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the cells of the first line, and those of the other non-empty lines, each with its line number."""
    lines = io.StringIO(_text(file), newline="").readlines()
    marks = _marks(lines[0] if lines else "")
    if len(marks) > 1:
        raise _error(file, 1, f"{' and '.join(map(repr, marks))} both separate cells: use only one of them.")
    cell = rf'(?:[^"{marks[0]}\r\n]*|"(?:[^"]|"")*")'
    strict = re.compile(rf"{cell}(?:{marks[0]}{cell})*[\r\n]*")
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(lines, delimiter=marks[0], strict=True)
    line = 1
    try:
        for row in reader:
            written = "".join(lines[line - 1 : reader.line_num])
            if any("\n" in cell or "\r" in cell for cell in row):
                raise _error(file, line, "a cell spans several lines: a quote that starts here does not end here.")
            if '"' in written and not strict.fullmatch(written):
                raise _error(
                    file, line, "a quote is inside a cell: quote the entire cell, and double the quotes in it."
                )
            if row:
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise _error(file, line, f"{error}: a quote starts or ends in the wrong place, here or above.") from None
    columns = rows[0][1] if rows and rows[0][0] == 1 else []
    for line, row in rows[1:]:
        if len(row) != len(columns):
            raise _error(
                file,
                line,
                f"{len(row)} cells, but the first line has {len(columns)}. Quote a cell that contains {marks[0]!r}.",
            )
    return columns, rows[1:]


def _marks(first: str) -> list[str]:
    """Return the possible separators of a table with this first line."""
    return [mark for mark in ",;\t" if mark in first] or [","]


def _json(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("duplicate key")
        return dict(pairs)

    for number, line in enumerate(io.StringIO(_text(file), newline=None), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=distinct)
        except (ValueError, RecursionError) as error:
            raise _error(file, number, f"not a JSON object ({error}).") from None
        if not isinstance(row, dict):
            raise _error(file, number, 'not a JSON object: write {"file_name": …, "label": …}.')
        yield number, row


def _as_cells(file: Path, line: int, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the values of a JSON object as cells; those of the used columns must be text or whole numbers."""
    for key in ("file_name", "label", "split", "group"):
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise _error(file, line, f"{key} is {json.dumps(value)}, neither text nor a whole number.")
    return {key: "" if value is None else str(value) for key, value in row.items()}


def _check_header(file: Path, columns: list[str]) -> None:
    """Refuse a first line other than path,label[,split][,group] in any order, and suggest names."""
    problems = [f"{word!r} is listed {count} times" for word, count in Counter(columns).items() if count > 1]
    known = ("path", "label", "split", "group")
    free = {word for word in known if word not in columns}
    meant = {word: _meant(word, free) for word in columns if word not in known}
    for word, near in meant.items():
        problems.append(f"unknown column {word!r}" + (f" (did you mean {near!r}?)" if near else ""))
    problems += [f"column {word} is missing" for word in sorted(free - {"split", "group", *meant.values()})]
    if problems:
        raise _error(
            file, 1, f"{'; '.join(problems)}; expected the columns {COLUMNS}, separated by commas, in the first line."
        )


def _meant(word: str, free: set[str]) -> str | None:
    clean = re.sub(r"[^a-z]+", "", word.lower())
    near = _SYNONYMS.get(clean) or nearest(clean, free)
    return near if near in free else None
