"""The subset of YAML for a matrix: mappings, lists, text and numbers. Files that need more are refused.

Plain words are read as in YAML 1.2's core schema: `1e-3` is a number, `no`, `010` and `1:30` are text (in YAML 1.1,
PyYAML's version, they are a text, false, 8 and 90). Aliases are refused, so that a small file cannot become large.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

DEEPEST = 20
"""Maximum levels of nesting; a matrix has four."""

_DIGITS = r"(?:0|[1-9][0-9]{0,99})"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", rf"[-+]?{_DIGITS}", "-+0123456789"),
    ("float", rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)


class NotPlainError(Exception):
    """The text is not YAML, or uses features that are not allowed in a matrix.

    Attributes:
        line: line of the mistake, 1-based.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's interpretation of plain words."""


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes text which either version of YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write repeated objects in full."""
        return True


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read(text: str) -> tuple[Any, dict[KeyPath, int]]:
    """Return a YAML text as plain data, and the line (1-based) of every key and item.

    Raises:
        NotPlainError: the text is not YAML, a key is a duplicate or is not a plain word, or there are aliases, tags or
            more than `DEEPEST` levels.
    """
    try:
        _refuse_not_plain(text)
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotPlainError(
            f"not valid YAML: character U+{ord(text[error.position]):04X} is not allowed", line
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise NotPlainError(f"not valid YAML: {problem}", mark.line + 1 if mark else 1) from None
    lines: dict[KeyPath, int] = {}
    return (None if root is None else _plain(loader, root, (), lines)), lines


def write(data: dict[str, Any]) -> str:
    """Return a mapping as YAML text for `read`, in the order of its keys."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _refuse_not_plain(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise NotPlainError(f"aliases are not allowed: write out the value of *{event.anchor}", line)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise NotPlainError(f"tags are not allowed: remove {tag!r}", line)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise NotPlainError(f"more than {DEEPEST} levels of nesting", line)


def _plain(loader: _Loader, node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise NotPlainError("a key must be a plain word", line)
            key = str(key_node.value)
            if key in result:
                raise NotPlainError(f"key {key!r} is a duplicate", line)
            lines[(*at, key)] = line
            result[key] = _plain(loader, value_node, (*at, key), lines)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*at, index), lines) for index, item in enumerate(node.value)]
    return loader.construct_object(node)
