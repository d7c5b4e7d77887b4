"""Published claims and figures as data, compared with the results of a matrix.

A figure is a number that a source states; in `benchmark.report` it is a picture.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Tag, ValidationError, model_validator

from benchmark.analysis.contrasts import Contrast, Question, policies_compared
from benchmark.analysis.differences import Difference, measure
from benchmark.analysis.results import Cell, Results
from benchmark.analysis.uncertainty.interval import CONFIDENCE, SEEDS_FOR_A_VERDICT, t_quantile
from benchmark.analysis.verdicts import judge_equally
from benchmark.errors import UserError
from benchmark.fields import Count, Frozen, NotNegative, Some
from benchmark.matrix import file, plain_yaml
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import CellKey, RunSpec
from benchmark.records.record import DoneRun

Metric = Literal["accuracy", "roc_auc", "last_epoch_test_accuracy", "last_epoch_train_loss"]
"""Test accuracy and area under the ROC curve of the chosen epoch, 0..1; test accuracy after the last epoch, 0..1; mean
cross-entropy of the last epoch's training steps, nats per image."""


class QuestionClaim(Frozen):
    """A source's answer to one of the report's questions."""

    text: str
    question: Question
    """The family of differences that tests it."""
    better: Literal["first", "second"]
    """The side that is better, according to the source."""
    datasets: tuple[str, ...]
    """Catalogue names of the source's own datasets."""
    policies: Some[str] | None = None
    """For the question about pretraining: the policies that the source trains; comparisons of others do not test its
    answer."""


class PolicyClaim(Frozen):
    """A source's claim that one policy is better than each of others."""

    text: str
    better: str
    than: Some[str]
    datasets: Some[str] | None = None
    """Titles (label or name) of the matrix's datasets that represent the source's case, or None if it is about all."""


_OF_A_QUESTION, _OF_POLICIES = "(of a question)", "(of policies)"


def _kind(claim: Any) -> str:
    named = claim if isinstance(claim, dict) else vars(claim)
    return _OF_POLICIES if "than" in named else _OF_A_QUESTION


Claim: TypeAlias = Annotated[
    Annotated[QuestionClaim, Tag(_OF_A_QUESTION)] | Annotated[PolicyClaim, Tag(_OF_POLICIES)], Discriminator(_kind)
]


class Figure(Frozen):
    """One number that a source states for one run, or as the mean of several."""

    policy: str
    """Its name in the source's matrix, as for the next two."""
    dataset: str
    input_mode: str
    model: str
    image_size: int | None = None
    """Pixels, both sides after resizing, or None for every size at which the results have the cell."""
    metric: Metric
    value: float
    runs: Count = 1
    """Number of runs that it is the mean of."""
    sd: NotNegative | None = None
    """Standard deviation of these runs, if the source states it; shown but not used."""

    def is_about(self, key: CellKey) -> bool:
        """Whether the figure is stated for this cell."""
        size = key.image_size if self.image_size is None else self.image_size
        return key == CellKey(self.dataset, self.input_mode, self.policy, self.model, size)


class Source(Frozen):
    """Claims and figures of one publication, one file."""

    source: str
    """Author, title, place."""
    claims: tuple[Claim, ...] = ()
    matrix: str | None = None
    """The shipped matrix that repeats the experiment behind the figures."""
    figures: tuple[Figure, ...] = ()
    not_compared: tuple[str, ...] = ()
    """Figures without a counterpart in our records, with the reason, one sentence per entry."""
    differs: tuple[str, ...] = ()
    """Differences between the matrix and the source's experiment, one sentence per entry."""

    @model_validator(mode="after")
    def _figures_of_a_matrix(self) -> Source:
        if self.figures and self.matrix is None:
            raise ValueError("figures need the matrix that repeats their experiment: give its name under matrix")
        return self


def load_sources(folder: Path) -> list[Source]:
    """Read every ``*.yaml`` in a folder, in order of their names.

    Raises:
        UserError: a file is not a valid source; the file and the key are named.
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


Verdict = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class JudgedClaim:
    """A claim's verdict on one comparison.

    Attributes:
        difference: the headline that tests the claim.
        verdict: supported if the claimed side is shown to be better; contradicted if the other side is, or if the two
            are shown to differ by less than the margin of equivalence; else undecided, or not run.
        by_the_source: whether the source's claim is about this dataset itself, not about a part of it or another case.
    """

    difference: Difference
    verdict: Verdict
    by_the_source: bool


def judge(
    claims: Sequence[Claim], found: Sequence[Difference], results: Results
) -> dict[Claim, tuple[JudgedClaim, ...]]:
    """Return the verdicts on each claim of one source, empty if the matrix does not have all that the claim compares.

    Generated controls do not count as evidence. A claim about a question is judged on that question's headlines, a
    claim about policies on its own differences, which share one probability of error (`differences.judge_equally`). No
    policy stands for another: a claim about one that the matrix does not have is not tested.

    Args:
        claims: claims of one source.
        found: the matrix's differences.
        results: the matrix's results.
    """
    named = [claim for claim in claims if isinstance(claim, PolicyClaim)]
    contrasts = [(claim, contrast) for claim in named for contrast in _between_policies(claim, results)]
    measured = judge_equally([measure(contrast, results) for _, contrast in contrasts])
    own = [(claim, difference) for (claim, _), difference in zip(contrasts, measured, strict=True)]
    whole = {e.title: e.name for e in results.matrix.datasets if e.limit is None and e.classes is None}

    def comparisons(claim: Claim) -> Iterator[JudgedClaim]:
        if isinstance(claim, PolicyClaim):
            yield from (JudgedClaim(d, verdict(claim, d), by_the_source=False) for other, d in own if other is claim)
            return
        for difference in found:
            contrast = difference.contrast
            asked = contrast.family == claim.question and contrast.headline and contrast.dataset not in results.controls
            if asked and (claim.policies is None or contrast.first in claim.policies):
                yield JudgedClaim(difference, verdict(claim, difference), whole.get(contrast.dataset) in claim.datasets)

    return {claim: tuple(comparisons(claim)) for claim in claims}


def _between_policies(claim: PolicyClaim, results: Results) -> Iterator[Contrast]:
    if not {claim.better, *claim.than} <= set(results.matrix.policies):
        return
    titles = [title for title in results.datasets if claim.datasets is None or title in claim.datasets]
    for dataset, setup, other in itertools.product(titles, results.matrix.setups, claim.than):
        if dataset not in results.controls:
            compared = policies_compared("policies", claim.better, other, dataset, setup, results)
            yield from (contrast for contrast in compared if contrast.headline)


def verdict(claim: Claim, difference: Difference) -> Verdict:
    """Return the verdict of one paired difference on a claim."""
    if difference.interval is None:
        return "not run"
    claimed = -1 if isinstance(claim, QuestionClaim) and claim.better == "second" else 1
    if difference.is_equivalent or difference.sign == -claimed:
        return "contradicted"
    return "supported" if difference.sign == claimed else "undecided"


def overall_verdict(comparisons: Sequence[JudgedClaim]) -> Verdict:
    """Return the verdict on a claim that needs all of its comparisons: contradicted if one is, supported if each is."""
    found = {judged.verdict for judged in comparisons}
    worst: tuple[Verdict, ...] = ("contradicted", "undecided", "not run")
    return next((verdict for verdict in worst if verdict in found), "supported")


@dataclass(frozen=True)
class ComparedFigure:
    """A published figure and ours.

    Attributes:
        figure: the published figure.
        key: our cell.
        values: our values by seed; empty if no run of the cell is done.
        asked: number of seeds in the matrix.
        as_published: whether the cell's runs are those of the source's matrix apart from seeds and threads; if not,
            `values` is empty.
    """

    figure: Figure
    key: CellKey
    values: tuple[float, ...]
    asked: int
    as_published: bool

    @property
    def ours(self) -> float | None:
        """Mean of our values over seeds."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def difference(self) -> float | None:
        """Our mean minus the published figure."""
        return None if self.ours is None else self.ours - self.figure.value

    @property
    def half_width(self) -> float | None:
        """Half the 95 % prediction interval of the mean of R more runs: t(0.975, S - 1) s sqrt(1 / R + 1 / S).

        The source has R runs on the same test images: if nothing else differs, only seeds separate their mean from
        that of our S runs, and no sampling of images does. s is the standard deviation of ours. None below three seeds.
        (Hahn and Meeker 1991, "Statistical Intervals", ch. 4.)
        """
        seeds = len(self.values)
        if seeds < SEEDS_FOR_A_VERDICT:
            return None
        t = t_quantile((1 + CONFIDENCE) / 2, seeds - 1)
        return t * statistics.stdev(self.values) * math.sqrt(1 / self.figure.runs + 1 / seeds)

    @property
    def is_within(self) -> bool | None:
        """Whether the published figure is within the interval, or None if there is no interval."""
        if self.difference is None or self.half_width is None:
            return None
        return abs(self.difference) <= self.half_width


def compare(source: Source, results: Results) -> list[ComparedFigure]:
    """Return the figures of a source whose cells the matrix has, in the order of the file.

    Raises:
        UserError: the source names a matrix that does not exist.
    """
    if source.matrix is None or not source.figures:
        return []
    theirs = {spec.cell: spec for spec in expand(file.load(file.find(source.matrix)))}
    ours = {run.spec.cell: run.spec for run in results.plan.runs}
    found = []
    for figure in source.figures:
        for key, cell in results.by_key.items():
            if figure.is_about(key):
                same = key in theirs and _setting(ours[key]) == _setting(theirs[key])
                values = _values(cell, figure.metric) if same else ()
                found.append(ComparedFigure(figure, key, values, len(cell.asked), same))
    return found


def _setting(spec: RunSpec) -> str:
    return spec.model_copy(update={"seed": 0, "threads": 1}).id


def _values(cell: Cell, metric: Metric) -> tuple[float, ...]:
    found: dict[Metric, Callable[[DoneRun], float | None]] = {
        "accuracy": lambda record: record.test.accuracy,
        "roc_auc": lambda record: record.test.roc_auc,
        "last_epoch_test_accuracy": lambda record: record.last_epoch_test_accuracy,
        "last_epoch_train_loss": lambda record: record.history[-1].train_loss,
    }
    return tuple(value for value in map(found[metric], cell.records.values()) if value is not None)
