"""What others have published, as data: claims that a matrix can test, and figures that it can be compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from benchmark import plain_yaml
from benchmark.analysis.differences import Question
from benchmark.errors import UserError
from benchmark.fields import Frozen

Metric = Literal["last_epoch_test_accuracy", "last_epoch_train_loss"]
"""Test accuracy after the last epoch, 0..1; mean cross-entropy over the last epoch's training images, each as it was in
its step, nats."""


class QuestionClaim(Frozen):
    """One sentence of a source, as the answer to one of the report's questions."""

    text: str
    question: Question
    """Which family of differences tests it."""
    better: Literal["first", "second"]
    """Which side it says is better."""
    datasets: tuple[str, ...]
    """Catalogue names on which the source says it."""


class PolicyClaim(Frozen):
    """One sentence of a source, as a policy that is better than another."""

    text: str
    better: str
    """A policy's name."""
    than: str
    """Another's."""
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Titles of a matrix's datasets (a label, else a name): those that stand for the source's case."""


_OF_A_QUESTION, _OF_POLICIES = "(of a question)", "(of policies)"


def _kind(claim: Any) -> str:
    named = claim if isinstance(claim, dict) else vars(claim)
    return _OF_POLICIES if "than" in named else _OF_A_QUESTION


Claim: TypeAlias = Annotated[
    Annotated[QuestionClaim, Tag(_OF_A_QUESTION)] | Annotated[PolicyClaim, Tag(_OF_POLICIES)], Discriminator(_kind)
]


class Figure(Frozen):
    """One number that a source states for one run."""

    policy: str
    """In the source's matrix, as the next two."""
    dataset: str
    input_mode: str
    model: str
    metric: Metric
    value: float


class Source(Frozen):
    """One file: what one publication says."""

    source: str
    """Author, title, place."""
    claims: tuple[Claim, ...] = ()
    matrix: str | None = None
    """The shipped matrix that repeats the experiment behind the figures."""
    figures: tuple[Figure, ...] = ()
    not_compared: tuple[str, ...] = ()
    """Figures that our records hold no counterpart of, with the reason, a sentence each."""
    differs: tuple[str, ...] = ()
    """What the matrix does otherwise than the source, a sentence each."""

    @model_validator(mode="after")
    def _figures_of_a_matrix(self) -> Source:
        if self.figures and self.matrix is None:
            raise ValueError("figures need the matrix that repeats their experiment: give its name under matrix")
        return self


def load_sources(folder: Path) -> list[Source]:
    """Read every ``*.yaml`` in a folder, by name.

    Raises:
        UserError: a file is not what one source says; the file and the key are named.
    """
    sources = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            data, _ = plain_yaml.read(path.read_text(encoding="utf-8"))
            sources.append(Source.model_validate(data))
        except plain_yaml.NotPlainError as error:
            raise UserError(f"{path}:{error.line}: {error}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"] if part not in (_OF_A_QUESTION, _OF_POLICIES))
            raise UserError(f"{path}: {where}: {first['msg']}.") from None
    return sources
