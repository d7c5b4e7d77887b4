"""Matrix files: found by name, read, overridden by ``--set``, checked, written back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from benchmark.errors import UserError, did_you_mean
from benchmark.matrix import DatasetEntry, EarlyStopping, Matrix, TrainingSettings

KeyPath = tuple[str | int, ...]


def experiments_folder() -> Path:
    """Return the folder of the shipped matrices: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def shipped() -> list[str]:
    """Return the names of the shipped matrices."""
    return sorted(path.stem for path in experiments_folder().glob("*.yaml"))


def find(name_or_file: str) -> Path:
    """Return the path of a matrix given by shipped name or by file.

    Raises:
        UserError: there is neither.
    """
    looks_like_a_file = name_or_file.endswith((".yaml", ".yml")) or os.sep in name_or_file
    path = Path(name_or_file) if looks_like_a_file else experiments_folder() / f"{name_or_file}.yaml"
    if path.is_file():
        return path
    if looks_like_a_file:
        raise UserError(f"{path}: there is no such matrix file.")
    raise UserError(
        f"--matrix {name_or_file}: there is no shipped matrix of this name.{did_you_mean(name_or_file, shipped())}"
    )


class _Document:
    """A YAML mapping as plain data, with the line of every key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            self.data: Any = self._plain(root, ()) if root is not None else {}
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not a text file in UTF-8 ({error}).") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"{mark.line + 1}" if mark else "?"
            problem = getattr(error, "problem", None) or str(error)
            raise UserError(f"{path}:{line}: not valid YAML: {problem}.") from None
        if not isinstance(self.data, dict):
            raise UserError(f"{path}: a matrix is a mapping of keys to values, this is a {type(self.data).__name__}.")

    def _plain(self, node: yaml.Node, at: KeyPath) -> Any:
        self.lines[at] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in result:
                    raise UserError(f"{self.path}:{key_node.start_mark.line + 1}: key {key!r} stands there twice.")
                result[key] = self._plain(value_node, (*at, key))
                self.lines[(*at, key)] = key_node.start_mark.line + 1
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*at, index)) for index, item in enumerate(node.value)]
        return yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))

    def place(self, at: KeyPath) -> str:
        """Return ``file:line`` of the nearest key that is written in the file."""
        for length in range(len(at), 0, -1):
            if at[:length] in self.lines:
                return f"{self.path}:{self.lines[at[:length]]}"
        return str(self.path)


def _override(data: dict[str, Any], assignment: str) -> KeyPath:
    """Apply one ``KEY=VALUE`` in place; the value is YAML. Return the key's path."""
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise UserError(f"--set {assignment}: write KEY=VALUE, e.g. --set training.epochs=3.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {assignment}: {text!r} is not a YAML value.") from None
    parts = key.split(".")
    target = data
    for part in parts[:-1]:
        step = target.setdefault(part, {})
        if step is None:
            step = target[part] = {}
        if not isinstance(step, dict):
            raise UserError(f"--set {assignment}: {part!r} is not a block of keys; set it as a whole.")
        target = step
    target[parts[-1]] = value
    return tuple(parts)


def _known_keys(at: KeyPath) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "training": TrainingSettings,
        "early_stopping": EarlyStopping,
        "datasets": DatasetEntry,
    }
    owner: type[BaseModel] = Matrix
    for part in at:
        owner = models.get(str(part), owner)
    return sorted(owner.model_fields)


def _explain(error: ValidationError, document: _Document, overridden: dict[KeyPath, str]) -> str:
    """Return one line a problem: where, which key, what is wrong, what may be meant."""
    lines = []
    for problem in error.errors():
        at = tuple(part for part in problem["loc"])
        set_by = next((text for path, text in overridden.items() if at[: len(path)] == path), None)
        place = f"--set {set_by}" if set_by else document.place(at)
        key = ".".join(str(part) for part in at)
        if problem["type"] == "extra_forbidden":
            what = f"unknown key {key!r}.{did_you_mean(str(at[-1]), _known_keys(at[:-1]))}"
        elif problem["type"] == "missing":
            what = f"key {key!r} is missing."
        elif problem["type"] == "value_error":
            what = f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
        elif problem["type"] == "literal_error":
            known = [word.strip(" '") for word in str(problem["ctx"]["expected"]).replace(" or ", ", ").split(",")]
            what = f"{key}: {problem['input']!r} is not accepted.{did_you_mean(str(problem['input']), known)}"
        else:
            what = f"{key}: {problem['msg'].lower()} (it is {problem['input']!r})."
        lines.append(f"{place}: {what}")
    return "\n".join(dict.fromkeys(lines))


def load(path: Path, overrides: Sequence[str] = (), name: str | None = None) -> Matrix:
    """Read a matrix file and check all of it.

    Args:
        path: the YAML file.
        overrides: ``KEY=VALUE`` with dotted keys, as given to ``--set``.
        name: replaces the matrix's name (``--name``).

    Raises:
        UserError: anything is wrong with the file or an override; every problem is named, each with its place.
    """
    document = _Document(path)
    overridden = {_override(document.data, text): text for text in overrides}
    if name is not None:
        document.data["name"] = name
    try:
        return Matrix.model_validate(document.data)
    except ValidationError as error:
        raise UserError(_explain(error, document, overridden)) from None


def place(path: Path, overrides: Sequence[str], key: str) -> str:
    """Return where a top-level key was given, for messages: ``--set KEY=VALUE`` or ``file:line``."""
    given = next((text for text in overrides if text.partition("=")[0].split(".")[0] == key), None)
    return f"--set {given}" if given else _Document(path).place((key,))


def dump(matrix: Matrix) -> str:
    """Return the effective matrix as YAML text that `load` reads back to an equal matrix."""
    data = matrix.model_dump(mode="json")
    data["datasets"] = [
        entry["name"] if set(entry) == {"name"} else entry
        for entry in ({key: value for key, value in item.items() if value is not None} for item in data["datasets"])
    ]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
