"""Looks at the questions of a matrix with ``seeds: {..., until: settled}``, in ``looks.json`` of its results folder.

After each seed that is done in every cell of a dataset, the dataset's headlines are judged
(`benchmark.analysis.looks`). The file has every look with what it was judged by. It follows from the records alone, so
that several commands and machines decide alike; `plan` reads how many seeds a dataset takes from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import UserError
from benchmark.fields import Frozen
from benchmark.files import write_atomically
from benchmark.matrix.matrix import Matrix, UntilSettled

FILE = "looks.json"

Reading = Literal["first", "second", "equivalent", "futile", "open"]
"""``first`` and ``second``: this side is shown to be better; ``futile``: a verdict at the last look is unlikely;
``open``: none of the others."""


class Row(Frozen):
    """A headline at a look. Differences in shares (-1..1)."""

    question: str
    first: str
    second: str
    context: str
    model: str
    image_size: int
    difference: float
    standard_error: float
    p: float
    """Of no difference, two-sided."""
    level: float
    """Below which p shows a difference at this look."""
    p_equivalence: float
    """Of a difference of the margin or more, the larger of two one-sided p-values."""
    level_equivalence: float
    """Below which it shows equivalence at this look."""
    reading: Reading


class Look(Frozen):
    """The headlines of a dataset after its first seeds."""

    seeds: int
    rows: tuple[Row, ...]

    @property
    def is_settled(self) -> bool:
        """Whether no headline is open."""
        return all(row.reading != "open" for row in self.rows)


Looks = Mapping[str, tuple[Look, ...]]
"""Title of a dataset -> its looks, by number of seeds."""

_FILE = TypeAdapter(dict[str, tuple[Look, ...]])


def read(folder: Path) -> Looks:
    """Return the looks in a results folder, none if the file is missing.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        problem = str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be read ({problem}). Delete it: `run` computes it again from the records."
        ) from None


def encode(looks: Looks) -> bytes:
    """Return the content of the file."""
    data = {title: [look.model_dump(mode="json") for look in own] for title, own in looks.items()}
    return (json.dumps(data, indent=1) + "\n").encode()


def save(folder: Path, looks: Looks) -> None:
    """Write the file unless it has this content.

    Raises:
        UserError: it cannot be written.
    """
    path, content = folder / FILE, encode(looks)
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


def seeds_of(matrix: Matrix, rule: UntilSettled, looks: Looks) -> Mapping[str, frozenset[int]]:
    """Return the seeds that each dataset takes, as far as the looks at it say."""
    taken: dict[str, frozenset[int]] = {}
    for title in (entry.title for entry in matrix.datasets):
        own = looks.get(title)
        number = rule.at_least
        if own is not None:
            number = own[-1].seeds if own[-1].is_settled else min(own[-1].seeds + 1, len(rule))
        taken[title] = frozenset(rule[:number])
    return taken
