"""What seeds cost that are taken until a dataset is settled, and whether verdicts and intervals hold, by simulation.

``python -m experiments.studies.sequential_seeds [SIMULATIONS]`` (default 400 per row; seven minutes of one core) writes
``sequential_seeds.md`` next to this file, and fails where a result leaves the bands of `outside`. With ``--replay``, it
prints instead what the rule would have done with the seeds of the committed results that have more than three.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.analysis.looks import take
from benchmark.analysis.results import load
from benchmark.analysis.uncertainty.inference import SIGNIFICANCE, equivalence_p_value, p_value
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.sequential import Look
from benchmark.analysis.verdicts import headlines
from benchmark.matrix import file
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.records.plan import make_plan
from benchmark.records.store import Store, find_results
from benchmark.report.text import table
from experiments.studies.batch import Estimates, estimates
from experiments.studies.interval_coverage import Report, images, mu_of, rows_of_a_dataset
from experiments.studies.worlds import EIGHT, World

FIRST, LAST = 3, 12
FIXED = (3, 5, 12)
EFFECTS = (0.0, 0.01, 0.02, 0.05, 0.10)
MARGIN = 0.01
IMAGES = (400, 1500)
QUESTIONS = {"one question": ("channels",), "three questions": ("pretraining", "channels", "stages")}
"""What a dataset is asked: grey on three channels or on one; or that, pretraining, and head first or not."""

RESULTS = Path(__file__).parents[2] / "results"
LARGEST_BATCH = 20
"""Datasets of one draw."""


@dataclass(frozen=True)
class Outcome:
    """Shares of simulated datasets, means over them, for seeds until settled and for fixed numbers of seeds.

    Attributes:
        seeds: number taken, mean.
        wrong: datasets with a wrong verdict: a difference where there is none or the other way, or equivalence where
            the difference is at least the margin.
        verdicts: headlines with a verdict.
        covers: final intervals of headlines that hold the truth.
        fixed_wrong: as ``wrong``, by number of fixed seeds.
        fixed_verdicts: as ``verdicts``, by number of fixed seeds.
    """

    seeds: float
    wrong: float
    verdicts: float
    covers: float
    fixed_wrong: dict[int, float]
    fixed_verdicts: dict[int, float]


def simulate(effect: float, questions: Sequence[str], number: int, simulations: int) -> Outcome:
    """Simulate datasets on which all questions have the same true difference, in shares."""
    random = np.random.default_rng([7, number, round(1000 * effect), len(questions)])
    layout, base = images(number), World(EIGHT[:6], spread=0.3, scratch=1.5)
    world = replace(base, mu=mu_of(base, Report(2 * effect, effect, effect, 1), layout))
    names, every = rows_of_a_dataset()
    heads = [k for k, name in enumerate(names) if name[3] and name[0] in questions]
    levels = [SIGNIFICANCE / len(questions) / sum(names[j][0] == names[k][0] for j in heads) for k in heads]
    contrasts = every[heads]
    taken, holds, verdicts, wrong = [], [], [], []
    fixed: dict[int, list[tuple[float, bool]]] = {seeds: [] for seeds in FIXED}
    for start in range(0, simulations, LARGEST_BATCH):
        size = min(LARGEST_BATCH, simulations - start)
        margins, truths = world.draw(size, LAST, layout, random)
        right, truths = (margins > 0).astype(np.float64), truths @ contrasts.T
        at = {s: estimates(right[:, :, :s], layout, base.kinds, contrasts)[0] for s in range(FIRST, LAST + 1)}
        for k, truth in enumerate(truths.tolist()):
            looks: list[Look] = []
            for seeds in range(FIRST, LAST + 1):
                before, looks = looks, _looks(at[seeds], k, levels, seeds, number)
                if all(look.is_settled for look in looks):
                    break
            taken.append(seeds)
            ends = [_final(look, before[j] if before else None) for j, look in enumerate(looks)]
            holds += [end.low <= true <= end.high for end, true in zip(ends, truth, strict=True)]
            found = [_verdict(look.interval, *look.levels) for look in looks]
            verdicts.append(np.mean([each is not None for each in found]))
            wrong.append(any(_is_wrong(each, true) for each, true in zip(found, truth, strict=True)))
            for seeds, own in fixed.items():
                looks = _looks(at[seeds], k, levels, seeds, number)
                found = [_verdict(look.interval, look.level, look.level) for look in looks]
                share = float(np.mean([each is not None for each in found]))
                own.append((share, any(_is_wrong(each, true) for each, true in zip(found, truth, strict=True))))
    shares = {seeds: np.mean(own, axis=0).tolist() for seeds, own in fixed.items()}
    return Outcome(
        seeds=float(np.mean(taken)),
        wrong=float(np.mean(wrong)),
        verdicts=float(np.mean(verdicts)),
        covers=float(np.mean(holds)),
        fixed_wrong={seeds: own[1] for seeds, own in shares.items()},
        fixed_verdicts={seeds: own[0] for seeds, own in shares.items()},
    )


def _looks(found: Estimates, k: int, levels: Sequence[float], seeds: int, number: int) -> list[Look]:
    assert found.per_run is not None, "comparisons know their part of runs"
    looks = []
    for j, level in enumerate(levels):
        mean, low, high = (float(array[k, j]) for array in (found.mean, found.low, found.high))
        error, df, per_run = (float(array[k, j]) for array in (found.error, found.df, found.per_run))
        interval = Interval(mean, low, high, error, df, seeds, number, "seeds and images", per_run=per_run)
        looks.append(Look(interval, MARGIN, level, FIRST, LAST))
    return looks


def _final(look: Look, before: Look | None) -> Interval:
    """Return the interval that a report shows, as `benchmark.analysis.verdicts` adjusts it."""
    ended = look.has_verdict and (before is None or not before.is_settled)
    return look.adjusted() if ended else look.interval


def _verdict(interval: Interval, level: float, of_equivalence: float) -> int | None:
    """Return the sign that is shown, 0 for equivalence, None without a verdict."""
    p, equivalence = p_value(interval), equivalence_p_value(interval, MARGIN)
    if equivalence is not None and equivalence < of_equivalence:
        return 0
    return int(np.sign(interval.mean)) if p is not None and p < level else None


def _is_wrong(verdict: int | None, truth: float) -> bool:
    if verdict is None:
        return False
    return abs(truth) >= MARGIN - 1e-9 if verdict == 0 else verdict * truth <= 1e-9


Key = tuple[str, int, float]


def study(simulations: int) -> dict[Key, Outcome]:
    """Return the outcomes by questions, images and effect."""
    return {
        (name, number, effect): simulate(effect, questions, number, simulations)
        for name, questions in QUESTIONS.items()
        for number in IMAGES
        for effect in EFFECTS
    }


def saved(found: dict[Key, Outcome], name: str, number: int) -> float:
    """Return the share of runs spared, against 12 seeds, over an even mix of the effects."""
    return 1 - float(np.mean([found[name, number, effect].seeds for effect in EFFECTS])) / LAST


def outside(found: dict[Key, Outcome]) -> list[str]:
    """Return what leaves its band: wrong verdicts, coverage over an even mix of the effects, runs spared."""
    problems = []
    for (name, number, effect), each in found.items():
        if each.wrong > SIGNIFICANCE:
            place = f"{name}, {number} images, {100 * effect:g} points"
            problems.append(f"{place}: a wrong verdict on {100 * each.wrong:.1f} % of the datasets")
    for name, number in itertools.product(QUESTIONS, IMAGES):
        covers = float(np.mean([found[name, number, effect].covers for effect in EFFECTS]))
        if not 0.93 <= covers <= 0.97:
            problems.append(f"{name}, {number} images: intervals cover {100 * covers:.1f} %")
    shares = {number: saved(found, "one question", number) for number in IMAGES}  # of several, the last decides
    few = {number: share for number, share in shares.items() if share < 0.30}
    problems += [f"one question, {number} images: {100 * share:.0f} % spared" for number, share in few.items()]
    return problems


HEADERS = ["points", "seeds", "wrong", "verdicts", "covers", "wrong 3 / 5 / 12", "verdicts 3 / 5 / 12"]


def markdown(found: dict[Key, Outcome], simulations: int) -> str:
    """Return the study as a Markdown page."""
    parts = [
        "# Seeds until a dataset is settled\n\n"
        f"By `python -m experiments.studies.sequential_seeds {simulations}`: {simulations} simulated datasets per row, "
        "of six cells in three classes, whose runs and images vary as in the worlds of "
        "[interval_coverage.md](interval_coverage.md). All questions have the same true difference (points of test "
        f"accuracy), pretraining twice as much. At least {FIRST} seeds, at most {LAST}, margin {100 * MARGIN:g} point. "
        "*Wrong*: datasets with a wrong verdict; *verdicts*: headlines that have one; *covers*: final intervals that "
        "hold the truth, all in percent. The last two columns have the same levels and 3, 5 or 12 seeds. Where several "
        "questions are asked, the last of them to be settled decides."
    ]
    for name in QUESTIONS:
        for number in IMAGES:
            parts.append(
                f"## {name.capitalize()}, {number} test images\n\nOver an even mix of these differences "
                f"{100 * saved(found, name, number):.0f} % of the runs of 12 seeds are spared."
            )
            rows = []
            for effect in EFFECTS:
                each = found[name, number, effect]
                own = [f"{100 * value:.1f}" for value in (each.wrong, each.verdicts, each.covers)]
                fixed = [
                    " / ".join(f"{100 * v[s]:.1f}" for s in FIXED) for v in (each.fixed_wrong, each.fixed_verdicts)
                ]
                rows.append([f"{100 * effect:g}", f"{each.seeds:.1f}", *own, *fixed])
            parts.append(table(HEADERS, rows, left=0))
    return "\n\n".join(parts) + "\n"


class Replayed(NamedTuple):
    """What the rule would have done with the seeds of a dataset.

    Attributes:
        dataset: title.
        seeds: taken, and done.
        runs: spared, and done.
        turned: headlines whose verdict after all seeds is another one, in words.
    """

    dataset: str
    seeds: tuple[int, int]
    runs: tuple[int, int]
    turned: list[str]


def replay(matrix: Matrix, store: Store) -> list[Replayed]:
    """Return what the rule would have done with each dataset, were the number of its seeds the most to take."""
    if len(matrix.seeds) <= FIRST or isinstance(matrix.seeds, UntilSettled) or matrix.evaluation == "folds":
        return []
    results = load(matrix, make_plan(matrix, store), store)
    ruled = replace(results, matrix=matrix.model_copy(update={"seeds": UntilSettled(FIRST, len(matrix.seeds))}))
    if tuple(ruled.matrix.seeds) != tuple(matrix.seeds) or any(cell.folds for cell in results.done_cells()):
        return []
    found = []
    for dataset, looks in take(ruled).items():
        last = looks[-1]
        final = {each.contrast: each for each in headlines(ruled) if each.contrast.dataset == dataset}
        turned = []
        for row in last.rows:
            (own,) = (
                each
                for contrast, each in final.items()
                if (contrast.first, contrast.second, contrast.context) == (row.first, row.second, row.context)
            )
            later = "equivalent" if own.is_equivalent else {1: "first", -1: "second", 0: "open"}[own.sign]
            before = "open" if row.reading == "futile" else row.reading
            if later != before:
                turned.append(f"{row.first} - {row.second}: {before} after {last.seeds} seeds, {later} after all")
        runs = [run for run in results.plan.done if run.spec.dataset == dataset]
        spared = sum(run.spec.seed >= last.seeds for run in runs)
        found.append(Replayed(dataset, (last.seeds, len(matrix.seeds)), (spared, len(runs)), turned))
    return found


def print_replay() -> None:
    """Print the replay of every committed matrix that has enough seeds."""
    for path in sorted(RESULTS.glob("*/matrix.yaml")):
        for each in replay(file.load(path), find_results(RESULTS, path.parent.name)):
            sys.stdout.write(
                f"{path.parent.name} {each.dataset}: {each.seeds[0]} of {each.seeds[1]} seeds, {each.runs[0]} of "
                f"{each.runs[1]} runs spared; {'; '.join(each.turned) or 'no other verdict'}\n"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, write the page, and return 1 where a result leaves its band."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("simulations", nargs="?", type=int, default=400, help="datasets per row")
    parser.add_argument("--replay", action="store_true", help="replay the rule on the committed results")
    options = parser.parse_args(arguments)
    if options.replay:
        print_replay()
        return 0
    simulations = options.simulations
    found = study(simulations)
    Path(__file__).with_suffix(".md").write_text(markdown(found, simulations), encoding="utf-8")
    problems = outside(found)
    sys.stdout.write("\n".join([*problems, f"{len(problems)} outside"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
