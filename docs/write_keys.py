"""Write the table of a matrix's keys.

``python docs/write_keys.py`` writes ``docs/keys.md``; with ``--check`` it exits 1 if the committed page differs. Values
and defaults come from the schema (`benchmark.matrix.matrix.Matrix` and its blocks), what a key means from the docstring
below its field.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from benchmark.data.source import Splits
from benchmark.matrix import augmentations, choices
from benchmark.matrix.choices import Parameter, Vocabulary
from benchmark.matrix.matrix import DatasetEntry, Exclusion, Matrix
from benchmark.matrix.policies import Policy, StageRule
from benchmark.matrix.settings import TrainingSettings

PAGE = Path(__file__).with_name("keys.md")

HEAD = """# Every key of a matrix

<!-- Written by docs/write_keys.py from the schema. -->

An unknown key is refused, with the nearest right word; a key without a default must be given. What decides the result
enters a run's id, and so the name of its record: change it, and the run is another run. A key is part of the id where
it does not say otherwise. What input modes and policies do: [the matrices](matrices.md); how a folder is read, and
which value is white: [your own images](own-images.md).

A word with parameters, in brackets in the tables, is written as a block: `optimizer: {sgd: {momentum: 0.9}}`,
`scheduler: {step: {size: 10, gamma: 0.1}}`, `augment: [hflip, {rotation: {degrees: 30}}]`.
"""

BLOCKS: Mapping[str, tuple[type[BaseModel], str]] = {
    "The file": (Matrix, "The keys of the file itself."),
    "A dataset": (DatasetEntry, "An item of `datasets`: a name, or a block of these keys."),
    "The folders of the splits": (
        Splits,
        "`splits` of a dataset that is a folder. Paths below the folder, with `/`. Other folders are left out.",
    ),
    "Training": (TrainingSettings, "The block `training`."),
    "Cells that are left out": (
        Exclusion,
        "An item of `exclude`: cells that have, under each key given here, one of its values.",
    ),
    "A policy of your own": (Policy, "Each block of `own_policies`, under the policy's name."),
    "A stage of a policy": (StageRule, "An item of `stages` of such a policy."),
}
"""Heading -> the block, and a sentence."""

VOCABULARIES: Mapping[str, Vocabulary] = {
    "optimizer": choices.OPTIMIZERS,
    "scheduler": choices.SCHEDULES,
    "head_init": choices.HEADS,
    "augment": augmentations.VOCABULARY,
}
"""Keys whose values are words with parameters."""

HEADERS = ["key", "values", "default", "meaning"]

LIST = "list of: "

WRITTEN = {"Bits": "`{bits: N}`", "Percentile": "`{percentile: [LOW, HIGH]}`"}
"""Blocks that are written in one line."""


def docstrings(block: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a class, and of those that it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(block.__mro__[: block.__mro__.index(BaseModel)]):
        body = ast.parse(inspect.getsource(each)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                found[field.target.id] = " ".join(ast.literal_eval(below.value).split()).replace("``", "`")
    return found


def of_parameter(name: str, parameter: Parameter) -> str:
    """Return a parameter in words: ``{degrees: 0 … 180}``."""
    low, high = ("more than " * (parameter.excluded == parameter.low) + f"{parameter.low:g}", f"{parameter.high:g}")
    if parameter.excluded == parameter.high:
        high = f"less than {high}"
    numbers = f"{low} or more" if high == "inf" else f"{low} to {high}"
    numbers = f"several, {numbers}" if parameter.several else numbers
    return f"{name}: {numbers}" + ("" if parameter.default is None else f", by default {parameter.default:g}")


def of_vocabulary(vocabulary: Vocabulary) -> str:
    """Return the words that a key takes, each with its parameters in brackets."""
    listed = []
    for word, parameters in vocabulary.words.items():
        known = {"CLASS": parameters} if isinstance(parameters, Parameter) else parameters
        given = "; ".join(of_parameter(*each) for each in known.items())
        listed.append(f"`{word}`" + (f" ({given})" if given else ""))
    return ("<br>" if len(listed) > 4 else ", ").join(listed)


def of_numbers(schema: Mapping[str, Any]) -> str:
    """Return a kind of numbers in words."""
    kind = "whole number" if schema["type"] == "integer" else "number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    limits = {"from": low, "above": above, "to": high, "below": below}
    return " ".join([kind, *(f"{word} {limit:.10g}" for word, limit in limits.items() if limit is not None)])


def values(schema: Mapping[str, Any], key: str) -> str:
    """Return the values that a key takes in words, from its JSON schema."""
    if "anyOf" in schema:
        return ", ".join(values(each, key) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return of_vocabulary(VOCABULARIES[key]) if name == "Choice" else WRITTEN.get(name, "block")
    if "prefixItems" in schema:
        return "`[LOW, HIGH]`"
    if "items" in schema:
        return LIST + values(schema["items"], key) if key != "windows" else "blocks"
    if schema["type"] in ("integer", "number"):
        return of_numbers(schema)
    return {"boolean": "`true`, `false`", "null": "`null`", "string": "text", "object": "blocks"}[schema["type"]]


def rows(block: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row per key: its name, its values, its default, its meaning."""
    schema = block.model_json_schema()["properties"]
    meanings = docstrings(block)
    defaults = block.model_construct().model_dump(mode="json")
    for key, field in block.model_fields.items():
        several = values(schema[key], key)
        if "_as_written" in repr((field.annotation, field.metadata)):  # see `benchmark.fields.OneOrSome`
            several = several.replace(LIST, f"one, or a {LIST}")
        several += ", or a rule" if key == "seeds" else ""
        written = yaml.safe_dump(defaults.get(key), default_flow_style=True).removesuffix("...\n").strip()
        default = "" if field.is_required() or key == "training" else f"`{written}`"
        yield f"`{key}`", several, default, meanings[key]


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for heading, (block, sentence) in BLOCKS.items():
        table = "\n".join(f"| {' | '.join(row)} |" for row in [HEADERS, ["---"] * len(HEADERS), *rows(block)])
        parts += [f"## {heading}\n", f"{sentence}\n", f"{table}\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE}: does not show the schema as it is. Run python {sys.argv[0]}")
