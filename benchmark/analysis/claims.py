"""What a matrix's paired differences say about published claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.analysis.differences import Contrast, Difference, adjusted, measure, policies_compared
from benchmark.analysis.published import Claim, PolicyClaim, QuestionClaim
from benchmark.analysis.results import Results

Verdict = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class Judged:
    """A claim on one comparison.

    Attributes:
        difference: the headline that tests it.
        verdict: supported where the claimed side is better after Holm's correction; contradicted where the other side
            is, or where the two are shown to differ by less than the margin of equivalence; else undecided, or not run.
        by_the_source: whether the source says it of this dataset, and not of a part of it or of a case that the dataset
            stands for.
    """

    difference: Difference
    verdict: Verdict
    by_the_source: bool


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdicts, none where the matrix does not hold the comparison."""

    claim: Claim
    comparisons: tuple[Judged, ...]


def judge(claims: Sequence[Claim], found: Sequence[Difference], results: Results) -> list[JudgedClaim]:
    """Return the verdicts on the claims of one source; generated controls are no evidence.

    A claim about a question is judged on that question's headlines, a claim about policies on differences of its own,
    with Holm's correction among those of the source.

    Args:
        claims: of one source.
        found: the matrix's differences.
        results: its runs.
    """
    named = [claim for claim in claims if isinstance(claim, PolicyClaim)]
    contrasts = [(claim, contrast) for claim in named for contrast in _between_policies(claim, results)]
    measured = adjusted([measure(contrast, results) for _, contrast in contrasts])
    own = [(claim, difference) for (claim, _), difference in zip(contrasts, measured, strict=True)]
    whole = {e.title: e.name for e in results.matrix.datasets if e.limit is None and e.classes is None}

    def comparisons(claim: Claim) -> Iterator[Judged]:
        if isinstance(claim, PolicyClaim):
            yield from (Judged(d, verdict(claim, d), by_the_source=False) for other, d in own if other is claim)
            return
        for difference in found:
            contrast = difference.contrast
            if contrast.family == claim.question and contrast.headline and contrast.dataset not in results.controls:
                yield Judged(difference, verdict(claim, difference), whole.get(contrast.dataset) in claim.datasets)

    return [JudgedClaim(claim, tuple(comparisons(claim))) for claim in claims]


def _between_policies(claim: PolicyClaim, results: Results) -> Iterator[Contrast]:
    for dataset in results.datasets:
        if dataset in claim.datasets and dataset not in results.controls:
            for model in results.matrix.models:
                compared = policies_compared("policies", claim.better, claim.than, dataset, model, results)
                yield from (contrast for contrast in compared if contrast.headline)


def verdict(claim: Claim, difference: Difference) -> Verdict:
    """Return what one paired difference says about a claim."""
    if difference.interval is None:
        return "not run"
    claimed = -1 if isinstance(claim, QuestionClaim) and claim.better == "second" else 1
    if difference.sign == claimed:
        return "supported"
    if difference.sign == -claimed or difference.equivalent:
        return "contradicted"
    return "undecided"
