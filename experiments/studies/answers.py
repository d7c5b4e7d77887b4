"""The answers to the questions of ``preregistered.yaml``, pooled over the test sets of several results folders.

``python -m experiments.studies.answers`` reads that file and the results that it names below ``results/``, and writes
there ``answers.csv`` (one row per comparison, and one per test set of it), ``answers.md``, and ``answers.svg`` and
``answers.png``, the figure of the front page. ``--check`` writes nothing and exits with 1 where a file differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from benchmark.analysis.contrasts import Contrast
from benchmark.analysis.differences import Difference, measure
from benchmark.analysis.floor import best_floor
from benchmark.analysis.noise_floor import noise_floor, rms
from benchmark.analysis.results import Results, load
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.pooling import heterogeneity, inverse_variance_mean, pool, random_effects
from benchmark.analysis.verdicts import NEAR_THE_CEILING
from benchmark.fields import Frozen, OneOrSome, Positive, Some
from benchmark.files import write_atomically
from benchmark.matrix import file, plain_yaml
from benchmark.matrix.run_spec import CellKey, Setup
from benchmark.records.floor import Method
from benchmark.records.plan import make_plan
from benchmark.records.store import find_results
from benchmark.report import tables
from benchmark.report.figures.picture import Picture
from benchmark.report.sections.answer import reading, verdict
from benchmark.report.text import p_text, percent, points_with_interval, table
from benchmark.words import count, listed

RESULTS = Path(__file__).parents[2] / "results"
ASKED = Path(__file__).with_name("preregistered.yaml")

FEWEST_SEEDS = 3
"""Seeds on both sides from which a test set counts."""


class Side(Frozen):
    """One side of a comparison: cells, in the order of input modes, then policies."""

    input_mode: OneOrSome[str]
    policy: OneOrSome[str]
    model: str | None = None
    image_size: int | None = None


class Comparison(Frozen):
    """First - second, pair by pair; ``floor`` is the best floor row of each data set."""

    name: str
    first: Side
    second: Side | Literal["floor"]
    test_sets: str


class Asked(Frozen):
    """A question with its comparisons."""

    id: str
    question: str
    error: Positive
    expected: str
    comparisons: Annotated[tuple[Comparison, ...], Field(min_length=1)]

    @property
    def level(self) -> float:
        """The probability of error of each comparison."""
        return self.error / len(self.comparisons)


class Preregistered(Frozen):
    """The file."""

    score: Literal["accuracy"]
    margin: Positive
    pooled: str
    learning_rate: str
    model: str
    image_size: int
    test_sets: Mapping[str, Mapping[str, Some[str]]]
    questions: Annotated[tuple[Asked, ...], Field(min_length=1)]

    def cells(self, side: Side, dataset: str) -> list[CellKey]:
        """Return the cells of a side on a data set."""
        setup = Setup(side.model or self.model, side.image_size or self.image_size)
        return [CellKey(dataset, *names, *setup) for names in itertools.product(side.input_mode, side.policy)]

    def pairs(self, comparison: Comparison, dataset: str) -> list[tuple[CellKey, CellKey | None]]:
        """Return the pairs of a comparison on a data set; None stands for its best floor row."""
        first = self.cells(comparison.first, dataset)
        second = [None] * len(first) if comparison.second == "floor" else self.cells(comparison.second, dataset)
        return list(zip(first, second, strict=True))


def read(path: Path = ASKED) -> Preregistered:
    """Read a file of questions."""
    data, _ = plain_yaml.read(path.read_text(encoding="utf-8"))
    return Preregistered.model_validate(data)


@cache
def read_results(folder: Path, name: str) -> Results | None:
    """Return the results of a matrix below a folder, or None if it has none."""
    if not (folder / name / "matrix.yaml").is_file():
        return None
    store = find_results(folder, name)
    matrix = file.load(store.matrix)
    return load(matrix, make_plan(matrix, store), store)


@dataclass(frozen=True)
class TestSet:
    """A comparison on one test set.

    Attributes:
        matrix: name of the results.
        dataset: its title there.
        difference: measured, or None.
        left_out: why it has no part in the mean, empty if it has.
    """

    matrix: str
    dataset: str
    difference: Difference | None
    left_out: str


@dataclass(frozen=True)
class Answer:
    """A comparison over its test sets.

    Attributes:
        asked: the question.
        comparison: the comparison.
        sets: its test sets, in the order of the file.
        pooled: the unweighted mean over those that count, judged; None if none does.
    """

    asked: Asked
    comparison: Comparison
    sets: tuple[TestSet, ...]
    pooled: Difference | None

    @property
    def counted(self) -> list[TestSet]:
        """The test sets that have a part in the mean."""
        return [each for each in self.sets if not each.left_out]

    @property
    def intervals(self) -> list[Interval]:
        """Their intervals."""
        return [each.difference.interval for each in self.counted if each.difference and each.difference.interval]


def answers(questions: Preregistered, folder: Path) -> list[Answer]:
    """Return the answer to each comparison, in the order of the file, from the results below a folder."""
    return [
        _answer(asked, comparison, questions, folder)
        for asked in questions.questions
        for comparison in asked.comparisons
    ]


def _answer(asked: Asked, comparison: Comparison, questions: Preregistered, folder: Path) -> Answer:
    places = questions.test_sets[comparison.test_sets].items()
    sets = tuple(
        _on(comparison, name, dataset, questions, read_results(folder, name))
        for name, datasets in places
        for dataset in datasets
    )
    found = Answer(asked, comparison, sets, None)
    counted = [each.difference for each in found.counted if each.difference is not None]
    if not counted:
        return found
    fewest = min((difference.seeds for difference in counted), key=len)
    contrast = replace(counted[0].contrast, dataset=f"the mean of {count(len(counted), 'test set')}", headline=True)
    return replace(
        found,
        pooled=Difference(
            contrast,
            pool(found.intervals),
            fewest,
            counted[0].asked,
            questions.margin / 100,
            level=asked.level,
            pooled=tuple(counted),
        ),
    )


def _on(comparison: Comparison, name: str, dataset: str, questions: Preregistered, own: Results | None) -> TestSet:
    """Measure a comparison on a test set."""
    floor = None if own is None else best_floor(dataset, own.floor)
    if own is None or (comparison.second == "floor" and floor is None):
        return TestSet(name, dataset, None, "not measured")
    method = None if floor is None else floor.method
    pairs: dict[tuple[CellKey, CellKey | Method], None] = {}
    for first, second in questions.pairs(comparison, dataset):
        other = method if second is None else own.repeated.get(second, second)
        assert other is not None, "without a floor row nothing is measured"
        pairs[own.repeated.get(first, first), other] = None
    cells = [own.by_key[side] for pair in pairs for side in pair if isinstance(side, CellKey)]
    first_name, second_name = comparison.name.split(",")[0].split(" - ")
    contrast = Contrast(
        "policies", dataset, next(iter(pairs))[0].setup, first_name, second_name, pairs=tuple(pairs), headline=True
    )
    difference = measure(contrast, own)
    fewest = min(len(cell.seeds) for cell in cells)
    if fewest < FEWEST_SEEDS or difference.interval is None or difference.interval.half_width is None:
        return TestSet(name, dataset, difference, f"{count(fewest, 'seed')} done")
    if all(cell.accuracy is not None and cell.accuracy.mean >= NEAR_THE_CEILING for cell in cells):
        return TestSet(name, dataset, difference, f"every compared cell reaches {100 * NEAR_THE_CEILING:g} %")
    return TestSet(name, dataset, difference, "")


def noise(found: Iterable[Answer], folder: Path) -> tuple[float, int] | None:
    """Return the rms of differences between two runs of one function, shares, with the number of pairs of cells."""
    names = dict.fromkeys(each.matrix for answer in found for each in answer.sets)
    pairs = [pair for name in names if (own := read_results(folder, name)) is not None for pair in noise_floor(own)]
    return (rms(pairs), len(pairs)) if pairs else None


COLUMNS = (
    *("question", "comparison", "matrix", "dataset", "difference", "low", "high", "p", "seeds", "images", "verdict"),
    *("note",),
)


def frame(found: Sequence[Answer]) -> pd.DataFrame:
    """Return one row per comparison (dataset empty), followed by one per test set; differences in shares."""
    rows: list[dict[str, Any]] = []
    for answer in found:
        both = {"question": answer.asked.id, "comparison": answer.comparison.name}
        rows.append(both | _columns(answer.pooled) | {"verdict": _verdict(answer), "note": _note(answer)})
        for each in answer.sets:
            place = {"matrix": each.matrix, "dataset": each.dataset, "note": each.left_out}
            rows.append(both | place | _columns(each.difference))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _columns(difference: Difference | None) -> dict[str, Any]:
    if difference is None or difference.interval is None:
        return {}
    interval = difference.interval
    ends = {"difference": interval.mean, "low": interval.low, "high": interval.high}
    return ends | {"p": difference.adjusted_p, "seeds": interval.seeds, "images": interval.images}


def _verdict(answer: Answer) -> str:
    return "not measured" if answer.pooled is None else verdict(answer.pooled)


def _note(answer: Answer) -> str:
    out = [f"{each.dataset} ({each.left_out})" for each in answer.sets if each.left_out]
    return f"without {listed(out)}" if out else ""


def markdown(found: Sequence[Answer], questions: Preregistered, caption: str) -> str:
    """Return the answers as a Markdown page."""
    parts = [
        "# The answers\n\n"
        "Computed by `python -m experiments.studies.answers` from the results next to this file, for the questions "
        "of [preregistered.yaml](../experiments/studies/preregistered.yaml), which were written down before the first "
        "run. Differences are percentage points of test accuracy, first - second, with 95 % intervals; verdicts are "
        "judged at each comparison's share of 5 % and hold for the mean over these test sets. "
        f"Margin: {questions.margin:g} point.",
        f"![Differences by test set](answers.svg)\n\n{caption}",
    ]
    for asked in questions.questions:
        own = [answer for answer in found if answer.asked is asked]
        parts.append(f"## {asked.id}. {asked.question}\n\nExpected: {asked.expected}")
        parts.append(table(["comparison", "test sets", "points", "p", "verdict"], map(_row, own), left=1))
        notes = [f"- {answer.comparison.name}: {note}." for answer in own if (note := _note(answer))]
        parts += ["\n".join(notes)] if notes else []
        parts.append(_by_test_set(own))
        parts += [text for answer in own[:1] if (text := _other_means(answer))]
    return "\n\n".join(parts) + "\n"


def _row(answer: Answer) -> list[str]:
    if answer.pooled is None or answer.pooled.interval is None:
        return [answer.comparison.name, "0", "", "", "not measured"]
    p = p_text(answer.pooled.adjusted_p)
    points = points_with_interval(answer.pooled.interval)
    return [answer.comparison.name, str(len(answer.counted)), points, p, reading(answer.pooled)]


def _by_test_set(own: Sequence[Answer]) -> str:
    """Return a table of test sets against comparisons."""
    datasets = list(dict.fromkeys(each.dataset for answer in own for each in answer.sets))
    rows = []
    for dataset in datasets:
        cells = []
        for answer in own:
            each = next((each for each in answer.sets if each.dataset == dataset), None)
            interval = each.difference.interval if each and each.difference else None
            cells.append("" if interval is None else points_with_interval(interval))
        rows.append([dataset, *cells])
    return table(["test set", *(answer.comparison.name for answer in own)], rows)


def _other_means(answer: Answer) -> str:
    """Return other ways to weigh the test sets of a comparison, in words."""
    intervals = answer.intervals
    if len(intervals) < 3:
        return ""
    fixed, mixed, spread = inverse_variance_mean(intervals), random_effects(intervals), heterogeneity(intervals)
    without = [pool([*intervals[:k], *intervals[k + 1 :]]).mean for k in range(len(intervals))]
    return (
        f"{answer.comparison.name}: weighted by inverse variance {percent(fixed.mean)} ± {percent(fixed.half_width)}, "
        f"with random effects {percent(mixed.mean)} ± {percent(mixed.half_width)}; without one of its test sets from "
        f"{percent(min(without))} to {percent(max(without))}; Cochran's Q {spread.q:.1f} on {spread.df} degrees of "
        f"freedom (p {p_text(spread.p)})."
    )


SHOWN = ("three channels - one", "finetune - scratch", "finetune - finetune-whole", "colour - grey, trained")
"""Comparisons in the figure, one panel each."""


def picture(found: Sequence[Answer], questions: Preregistered, of_noise: tuple[float, int] | None) -> Picture:
    """Return the figure: each test set's difference and their mean, a panel per comparison."""
    shown = {answer.comparison.name: answer for answer in found if answer.comparison.name in SHOWN}
    data = {
        "margin": questions.margin,
        "noise": None if of_noise is None else round(100 * of_noise[0], 2),
        "panels": [
            {
                "name": name,
                "question": shown[name].asked.question,
                "mean": _ends(shown[name].pooled),
                "sets": [[each.dataset, *(_ends(each.difference) or (None, None, None))] for each in shown[name].sets],
            }
            for name in shown
        ],
    }
    return Picture("answers", "differences", "Differences by test set, and their mean", _caption(of_noise), data, draw)


def _ends(difference: Difference | None) -> list[float] | None:
    interval = None if difference is None else difference.interval
    if interval is None or interval.low is None or interval.high is None:
        return None
    return [round(100 * end, 2) for end in (interval.mean, interval.low, interval.high)]


def _caption(of_noise: tuple[float, int] | None) -> str:
    floor = (
        ""
        if of_noise is None
        else f" Light band: the noise floor, {percent(of_noise[0])} points, by which two single runs of one function "
        f"differ (root mean square over {count(of_noise[1], 'pair')} of cells)."
    )
    return (
        "Points: differences in test accuracy on the same seeds and images, bars their 95 % intervals; diamonds: "
        f"unweighted means over test sets. Dark band: the margin of equivalence.{floor}"
    )


def draw(data: Any) -> Figure:
    """Draw the figure from its data."""
    names = list(dict.fromkeys(row[0] for panel in data["panels"] for row in panel["sets"]))
    places = {name: len(names) - k for k, name in enumerate(names)}
    figure = Figure(figsize=(11, 0.6 + 0.3 * (len(names) + 2)), layout="constrained")
    axes = figure.subplots(1, len(data["panels"]), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, data["panels"], strict=True):
        if data["noise"] is not None:
            axis.axvspan(-data["noise"], data["noise"], color="#e8eef6", lw=0, zorder=0)
        axis.axvspan(-data["margin"], data["margin"], color="#c3d2e6", lw=0, zorder=1)
        axis.axvline(0, color="#666666", lw=0.8, zorder=2)
        for name, mean, low, high in panel["sets"]:
            if mean is not None:
                axis.plot([low, high], [places[name]] * 2, color="#0072b2", lw=1.4, zorder=3)
                axis.plot(mean, places[name], "o", color="#0072b2", ms=4.5, zorder=4)
        if panel["mean"] is not None:
            mean, low, high = panel["mean"]
            axis.plot([low, high], [0, 0], color="black", lw=1.8, zorder=3)
            axis.plot(mean, 0, "D", color="black", ms=5.5, zorder=4)
        axis.set_title(panel["name"].replace(" - ", " − "), fontsize=9, loc="left")
        axis.set_xlabel("points")
        axis.grid(axis="x")
    axes[0].set_yticks([0, *places.values()], ["mean", *places])
    axes[0].set_ylim(-0.7, len(names) + 0.7)
    return figure


def make(questions: Preregistered, folder: Path) -> tuple[dict[str, bytes], Picture]:
    """Return the text files (name -> content), and the figure."""
    found = answers(questions, folder)
    made = picture(found, questions, noise(found, folder))
    texts = {"answers.md": markdown(found, questions, made.caption), "answers.csv": tables.csv(frame(found))}
    texts["answers.json"] = json.dumps({"figure": made.digest}, indent=2) + "\n"
    return {name: text.encode() for name, text in texts.items()}, made


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the answers, or compare them with the files on disk; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="parent folder of the results")
    options = parser.parse_args(arguments)
    texts, made = make(read(), options.results)
    if options.check:
        paths = {name: options.results / name for name in texts}
        differing = [path for name, path in paths.items() if not path.is_file() or path.read_bytes() != texts[name]]
        sys.stdout.writelines(f"{path}: differs from the records\n" for path in differing)
        return 1 if differing else 0
    png, svg = made.draw_files()
    for name, content in {**texts, "answers.png": png, "answers.svg": svg}.items():
        write_atomically(options.results / name, content)
        sys.stdout.write(f"wrote {options.results / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
