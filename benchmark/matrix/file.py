"""Matrix files: finding, reading, overriding by ``--set``, checking and writing."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from benchmark.data.source import DatasetSource, Splits, check_name
from benchmark.errors import MisplacedValueError, UserError, did_you_mean, nearest
from benchmark.fields import Frozen
from benchmark.matrix import plain_yaml
from benchmark.matrix.matrix import DatasetEntry, Exclusion, Matrix
from benchmark.matrix.policies import Policy, StageRule
from benchmark.matrix.settings import EarlyStopping, TrainingSettings

KeyPath = plain_yaml.KeyPath


def experiments_folder() -> Path:
    """Return the folder of the shipped matrices: inside the wheel, or next to the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def shipped_matrices() -> list[str]:
    """Return the names of the shipped matrices."""
    return sorted(path.stem for path in experiments_folder().glob("*.yaml"))


def find(name_or_file: str) -> Path:
    """Return the path of a matrix given by shipped name or by file.

    Raises:
        UserError: neither exists.
    """
    looks_like_a_file = name_or_file.endswith((".yaml", ".yml")) or os.sep in name_or_file
    path = Path(name_or_file) if looks_like_a_file else experiments_folder() / f"{name_or_file}.yaml"
    if path.is_file():
        return path
    if looks_like_a_file:
        raise UserError(f"{path}: this matrix file does not exist.")
    raise UserError(
        f"--matrix {name_or_file}: no shipped matrix has this name.{did_you_mean(name_or_file, shipped_matrices())}"
    )


@dataclass
class _Document:
    """A YAML mapping as plain data, with the line of each key.

    Attributes:
        where: the file, or a substitute for it in messages.
    """

    where: Path | str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    @classmethod
    def read(cls, path: Path) -> _Document:
        """Read a file.

        Raises:
            UserError: the file cannot be read, or is not a mapping in plain YAML.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not a text file in UTF-8 ({error}).") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        try:
            data, lines = plain_yaml.read(text)
        except plain_yaml.NotPlainError as error:
            raise UserError(f"{path}:{error.line}: {error}.") from None
        if data is None:
            data = {}
        if not isinstance(data, dict):
            kind = "a list" if isinstance(data, list) else "a single value"
            raise UserError(f"{path}: a matrix must be a block of keys, but this is {kind}.")
        return cls(path, data, lines)

    def override(self, assignments: Sequence[str]) -> dict[KeyPath, str]:
        """Apply ``KEY=VALUE``, as given to ``--set``; return the override of each key.

        Raises:
            UserError: an assignment does not have this form, or sets a key of a value that is not a block of keys.
        """
        return {at: f"--set {text}" for text in assignments for at in _override(self.data, text)}

    def place(self, at: KeyPath) -> str:
        """Return ``file:line`` of a key, or of the innermost block around it in the file."""
        for length in range(len(at), 0, -1):
            if at[:length] in self.lines:
                return f"{self.where}:{self.lines[at[:length]]}"
        return str(self.where)


def _override(data: dict[str, Any], assignment: str) -> list[KeyPath]:
    """Apply one ``KEY=VALUE`` in place, where the value is YAML; return the paths of the keys it sets.

    ``datasets.KEY`` sets a key of every dataset.
    """
    key, equals, text = assignment.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"--set {assignment}: write KEY=VALUE, e.g. --set training.epochs=3.")
    try:
        value, _ = plain_yaml.read(text)
    except plain_yaml.NotPlainError as error:
        raise UserError(f"--set {assignment}: {error}.") from None
    entries = data.get("datasets")
    if parts[0] != "datasets" or len(parts) == 1 or not isinstance(entries, list):
        return [_set_key(data, parts, value, assignment)]
    if parts[1].isdigit():
        raise UserError(
            f"--set {assignment}: datasets.KEY sets a key of every dataset; to change one, set the complete list."
        )
    entries[:] = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    blocks = [(index, entry) for index, entry in enumerate(entries) if isinstance(entry, dict)]
    return [
        ("datasets", index, *_set_key(entry, parts[1:], copy.deepcopy(value), assignment)) for index, entry in blocks
    ]


def _set_key(block: dict[str, Any], parts: list[str], value: Any, assignment: str) -> KeyPath:
    """Set a key of a block or of a nested block, which is created; return the key's path."""
    target = block
    for part in parts[:-1]:
        step = target.setdefault(part, {})
        if step is None:
            step = target[part] = {}
        if not isinstance(step, dict):
            raise UserError(f"--set {assignment}: {part!r} is not a block of keys; set its complete value.")
        target = step
    target[parts[-1]] = value
    return tuple(parts)


_BLOCKS: dict[str, type[BaseModel]] = {
    "training": TrainingSettings,
    "early_stopping": EarlyStopping,
    "datasets": DatasetEntry,
    "splits": Splits,
    "own_policies": Policy,
    "exclude": Exclusion,
    "stages": StageRule,
}


def _known_keys(at: KeyPath) -> list[str]:
    owner: type[BaseModel] = Matrix
    for part in at:
        owner = _BLOCKS.get(str(part), owner)
    return sorted(owner.model_fields)


def _suggest(at: KeyPath) -> str:
    """Return a hint at a similar key in the same block, or at a key of this name in another block."""
    word, known = str(at[-1]), _known_keys(at[:-1])
    if nearest(word, known) is None:
        for block in ((), ("training",), ("training", "early_stopping")):
            if word in _known_keys(block):
                return f" Did you mean {'.'.join((*block, word))!r}?"
    return did_you_mean(word, known)


def _as_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"


_WRONG = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must consist of letters, digits, '.', '_' and '-', and start with a letter or digit",
    "tuple_type": "must be a list, in square brackets",
    "too_short": "must have at least one item",
    "model_type": "must be a block of keys",
    "model_attributes_type": "must be a block of keys",
}
"""Message per pydantic error type, in words that do not assume knowledge of Python."""


def _describe(problem: ErrorDetails) -> str:
    at, context = problem["loc"], problem.get("ctx", {})
    context = {name: int(x) if isinstance(x, float) and x.is_integer() else x for name, x in context.items()}
    key = ".".join(str(part) for part in at)
    shown = _as_json(problem["input"])
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}.{_suggest(at)}"
        case "missing":
            return f"key {key!r} is missing."
        case "value_error":
            return f"{key}: {context['error']}" if key else str(context["error"])
        case "literal_error":
            known = str(context["expected"]).replace(" or ", ", ").split(", ")
            accepted = [word.strip("'") for word in known]
            return f"{key}: {shown} is not accepted.{did_you_mean(str(problem['input']), accepted)}"
        case kind:
            return f"{key}: {_WRONG.get(kind, problem['msg']).format(**context)} (it is {shown})."


def _is_repetition(problem: ErrorDetails, others: Sequence[ErrorDetails]) -> bool:
    """Whether a problem only repeats another one, e.g. a list that lacks its invalid item, or a misspelt key."""
    at = problem["loc"]
    if problem["type"] == "too_short":
        return any(len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in others)
    if problem["type"] == "missing":
        misspelt = [o["loc"] for o in others if o["type"] == "extra_forbidden" and o["loc"][:-1] == at[:-1]]
        return any(nearest(str(other[-1]), _known_keys(at[:-1])) == at[-1] for other in misspelt)
    return False


def _as_written(at: KeyPath, data: Any) -> KeyPath:
    """Return the path of a key in the file's data, where a single value may represent a list of one."""
    for length, part in enumerate(at):
        if isinstance(part, int) and not isinstance(data, list):
            return at[:length]
        data = data.get(part) if isinstance(data, dict) else data[part] if isinstance(part, int) else None
    return at


def _keys(problem: ErrorDetails) -> list[KeyPath]:
    """Return the keys of a problem; the first is the one to change."""
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, MisplacedValueError):
        return [tuple(int(part) if part.isdigit() else part for part in key.split(".")) for key in error.keys]
    return [problem["loc"]]


def _explain(error: ValidationError, document: _Document, overridden: dict[KeyPath, str]) -> str:
    """Return one line per problem, with place, key, mistake and the most similar accepted word."""

    def override_of(at: KeyPath) -> str | None:
        above = [text for path, text in overridden.items() if at[: len(path)] == path]
        below = [text for path, text in overridden.items() if path[: len(at)] == at and at not in document.lines]
        return next(reversed(above or below), None)

    problems = error.errors()
    lines = []
    for found in problems:
        if _is_repetition(found, problems):
            continue
        problem: ErrorDetails = {**found, "loc": _as_written(found["loc"], document.data)}
        keys = _keys(problem)
        set_by = next((text for at in keys if (text := override_of(at))), None)
        place = set_by or document.place(keys[0])
        lines.append(f"{place}: {_describe(problem)}")
    return "\n".join(dict.fromkeys(lines))


class _ConflictError(UserError):
    """Values of a matrix, each acceptable by itself, contradict each other."""


def load(path: Path, overrides: Sequence[str] = (), name: str | None = None) -> Matrix:
    """Read a matrix file and check it completely.

    Args:
        path: the YAML file.
        overrides: ``KEY=VALUE`` with dotted keys, as given to ``--set``.
        name: replaces the matrix's name (``--name``).

    Raises:
        UserError: the file or an override is wrong; the message lists every problem with its place.
    """
    return _validate(*_read(path, overrides, name))


def load_for(
    path: Path, overrides: Sequence[str], name: str | None, wanted: Mapping[str, Collection[str]]
) -> tuple[Matrix, tuple[str, ...]]:
    """Read a matrix file like `load`, but leave out runs that are not wanted if a setting contradicts them.

    Args:
        path: the YAML file.
        overrides: ``KEY=VALUE`` with dotted keys, as given to ``--set``.
        name: replaces the matrix's name (``--name``).
        wanted: values of the wanted runs, by a field of `CellKey`; other values may be left out.

    Returns:
        The matrix, and one line with the reason per value left out.

    Raises:
        UserError: as in `load`; or a setting contradicts the wanted runs.
    """
    document, overridden = _read(path, overrides, name)
    try:
        return _validate(document, overridden), ()
    except _ConflictError as error:
        conflict = error
    every = {axis: values for axis in _AXES if axis in wanted and (values := _axis_values(document.data, axis))}
    kept = {axis: [value for value in values if str(value) in wanted[axis]] for axis, values in every.items()}
    try:
        matrix = _validate(_replace_axes(document, kept), overridden)
    except UserError:
        raise conflict from None
    left_out = []
    for axis, values in every.items():
        for value in (value for value in values if str(value) not in wanted[axis]):
            more = {**kept, axis: [each for each in values if each in kept[axis] or each == value]}
            try:
                matrix = _validate(_replace_axes(document, more), overridden)
                kept = more
            except UserError as error:
                left_out.append(f"left out: {axis} {value}, which --only does not select: {error}")
    return matrix, tuple(left_out)


_AXES: Mapping[str, KeyPath] = {
    "policy": ("policies",),
    "input_mode": ("input_modes",),
    "model": ("models",),
    "image_size": ("training", "image_size"),
}
"""Keys whose values a setting can contradict, by field of `CellKey`."""


def _axis_values(data: dict[str, Any], axis: str) -> list[Any]:
    """Return the values of an axis as written in the file, or an empty list if it is missing."""
    found: Any = data
    for part in _AXES[axis]:
        found = None if found is None else found.get(part)
    return found if isinstance(found, list) else [] if found is None else [found]


def _replace_axes(document: _Document, kept: Mapping[str, list[Any]]) -> _Document:
    """Return a document with the values of some axes replaced."""
    data = copy.deepcopy(document.data)
    for axis, values in kept.items():
        *outer, last = _AXES[axis]
        block = data
        for part in outer:
            block = block[str(part)]
        block[str(last)] = values
    return _Document(document.where, data, document.lines)


def _read(path: Path, overrides: Sequence[str], name: str | None) -> tuple[_Document, dict[KeyPath, str]]:
    """Return a file's document with the overrides applied, and the override of each key set by one."""
    document = _Document.read(path)
    overridden = document.override(overrides)
    if name is not None:
        document.data["name"] = name
        overridden[("name",)] = f"--name {name}"
    return document, overridden


def _validate(document: _Document, overridden: dict[KeyPath, str]) -> Matrix:
    try:
        matrix = Matrix.model_validate(document.data)
        if (set_by := overridden.get(("training", "lr"))) and set(matrix.policies) <= set(matrix.training.policy_lr):
            raise _ConflictError(
                f"{set_by}: no policy would use it, as each has a rate of its own in training.policy_lr. "
                "Add --set training.policy_lr={}."
            )
        return matrix
    except ValidationError as error:
        conflict = all(isinstance(each.get("ctx", {}).get("error"), MisplacedValueError) for each in error.errors())
        raise (_ConflictError if conflict else UserError)(_explain(error, document, overridden)) from None


class _Entry(Frozen):
    """One dataset entry of a matrix."""

    datasets: tuple[DatasetEntry]


def read_source(name: str, overrides: Sequence[str] = ()) -> DatasetSource:
    """Return the source of a dataset, as a matrix with this entry would have it.

    Args:
        name: a catalogue name, or ``folder:PATH``.
        overrides: ``datasets.KEY=VALUE``, as given to ``--set``.

    Raises:
        UserError: the name or an override is wrong; the message lists every problem.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    for text in overrides:
        if not text.lstrip().startswith("datasets."):
            raise UserError(f"--set {text}: only keys of a dataset can be set here. Write datasets.KEY=VALUE.")
    document = _Document(name, {"datasets": [{"name": name}]}, {})
    overridden = document.override(overrides)
    try:
        return _Entry.model_validate(document.data).datasets[0].source
    except ValidationError as error:
        raise UserError(_explain(error, document, overridden)) from None


def place(path: Path, overrides: Sequence[str], key: str) -> str:
    """Return where a top-level key was given, for messages: ``--set KEY=VALUE`` or ``file:line``."""
    given = next((text for text in overrides if text.partition("=")[0].split(".")[0] == key), None)
    return f"--set {given}" if given else _Document.read(path).place((key,))


def dump(matrix: Matrix) -> str:
    """Return the effective matrix as YAML text, which `load` reads as an equal matrix."""
    data = matrix.model_dump(mode="json")
    entries = [entry.model_dump(mode="json", exclude_defaults=True) for entry in matrix.datasets]
    data["datasets"] = [entry["name"] if set(entry) == {"name"} else entry for entry in entries]
    data["exclude"] = [item.model_dump(mode="json", exclude_none=True) for item in matrix.exclude]
    return plain_yaml.write(data)
