"""Published claims as data, and what a matrix's paired differences say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.analysis.differences import Difference, Family
from benchmark.analysis.results import Results
from benchmark.errors import UserError

Verdict = Literal["supported", "contradicted", "undecided", "not run"]


class Claim(BaseModel):
    """One sentence of a source, as a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    question: Family
    """Which family of differences tests it."""
    better: Literal["first", "second"]
    """Which side it says is better."""
    datasets: tuple[str, ...]
    """Catalogue names on which the source says it."""


class Source(BaseModel):
    """One file of claims."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Judged:
    """A claim on one comparison.

    Attributes:
        claim: what is said.
        difference: the headline that tests it.
        verdict: supported where the claimed side is better after Holm's correction; contradicted where the other side
            is, or where the two are shown to differ by less than the margin of equivalence; else undecided, or not run.
        by_the_source: whether the source says it of this dataset, and not of a part of it.
    """

    claim: Claim
    difference: Difference
    verdict: Verdict
    by_the_source: bool


def load_claims(folder: Path) -> list[Source]:
    """Read every ``*.yaml`` in a folder, by name.

    Raises:
        UserError: a file is not one of claims; the file and the key are named.
    """
    sources = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            sources.append(Source.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))))
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML: {error}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: {where}: {first['msg']}.") from None
    return sources


def judge(claim: Claim, found: Sequence[Difference], results: Results) -> list[Judged]:
    """Return the claim's verdict on each headline of its question, in the report's order; controls are no evidence."""
    whole = {e.title: e.name for e in results.matrix.datasets if e.limit is None and e.classes is None}
    return [
        Judged(claim, difference, verdict(claim, difference), whole.get(difference.contrast.dataset) in claim.datasets)
        for difference in found
        if difference.contrast.family == claim.question
        and difference.contrast.headline
        and difference.contrast.dataset not in results.controls
    ]


def verdict(claim: Claim, difference: Difference) -> Verdict:
    """Return what one paired difference says about a claim."""
    if difference.interval is None:
        return "not run"
    claimed = 1 if claim.better == "first" else -1
    if difference.sign == claimed:
        return "supported"
    if difference.sign == -claimed or difference.equivalent:
        return "contradicted"
    return "undecided"
