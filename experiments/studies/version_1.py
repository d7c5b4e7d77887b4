"""The records of version 1, evaluated with today's statistics.

``python -m experiments.studies.version_1`` takes the records of version 1 out of the repository's history (they were
withdrawn: its `finetune` spoiled the head that it had trained), applies `benchmark.analysis.uncertainty` to them and
writes ``version_1.md`` next to this file. It fails where a mean is further than 0.15 points from the audit's, which
had code of its own.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from benchmark.analysis.uncertainty.design import Design
from benchmark.analysis.uncertainty.interval import Interval
from benchmark.analysis.uncertainty.means import mean_difference
from benchmark.analysis.uncertainty.pooling import heterogeneity, inverse_variance_mean, pool, random_effects
from benchmark.analysis.uncertainty.runs import Runs, between_runs, combine, moderate

WITHDRAWN = "a2b012f"
"""The commit that removed version 1's results."""

MATRICES = ("quick", "elpv", "cpu", "size-similarity")
STEM_IS_TRAINED = ("finetune", "finetune-whole")
"""Pretrained policies that train the stem: with a frozen one the two modes are one function."""

SEPARATE_TEST_SETS = (("elpv", "elpv"), ("cpu", "beans"), ("cpu", "rps"), ("size-similarity", "large similar"))
AUDIT = {"the eight comparisons": (0.02, 0.75), "one per test set": (0.00, 0.89)}
"""Mean and half-width, points, that an audit of version 1 found with own code and variances pooled by dataset."""

TOLERANCE = 0.15
NOISE = 1.2
"""Root mean square of the differences between two runs of one function, points, in the audit."""


@dataclass(frozen=True)
class OldCell:
    """Correctness of a cell's runs, with what today's statistics need.

    Attributes:
        correct: 0 or 1, shape (seeds, images), seeds and images in ascending order.
        design: classes and groups of the images.
        trains_a_backbone: whether any stage does.
    """

    correct: np.ndarray
    design: Design
    trains_a_backbone: bool


Place = tuple[str, str]
"""Matrix and title of a dataset."""


def extract(folder: Path, repository: Path = Path(__file__).parents[2]) -> bool:
    """Write version 1's results to a folder; return whether the history has them (a shallow clone does not)."""
    git = ["git", "-C", str(repository), "archive", f"{WITHDRAWN}~1:results", *MATRICES]
    made = subprocess.run(git, capture_output=True, check=False)
    if made.returncode:
        return False
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return True


def read(folder: Path, matrix: str) -> dict[Place, dict[tuple[str, str], OldCell]]:
    """Return a matrix's cells by place, and there by input mode and policy."""
    described = yaml.safe_load((folder / matrix / "matrix.yaml").read_text(encoding="utf-8"))
    groups = pd.read_csv(folder / matrix / "groups.csv", dtype=str)
    tables: dict[tuple[Place, str, str], dict[int, pd.DataFrame]] = {}
    trains: dict[tuple[Place, str, str], bool] = {}
    for path in sorted((folder / matrix / "records").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        spec, source = record["spec"], record["spec"]["source"]
        entries = ({"name": each} if isinstance(each, str) else each for each in described["datasets"])
        entry = next(e for e in entries if (e["name"], e.get("limit")) == (source["name"], source["limit"]))
        key = ((matrix, entry.get("label", entry["name"])), spec["input_mode"], spec["policy"])
        table = pd.read_parquet(path.with_suffix(".parquet")).sort_values("image_id")
        tables.setdefault(key, {})[spec["seed"]] = table
        trains[key] = any(stage["trainable"] != "head" for stage in spec["stages"])
    found: dict[Place, dict[tuple[str, str], OldCell]] = {}
    for (place, mode, policy), of_seed in tables.items():
        seeds = sorted(of_seed)
        first = of_seed[seeds[0]]
        rows = [(of_seed[s]["label"] == of_seed[s]["predicted"]).to_numpy(dtype=np.int64) for s in seeds]
        own = groups[groups["dataset"] == place[1]].set_index("image_id")["group"]
        codes = pd.factorize(first["image_id"].map(own))[0] if len(own) else None
        design = Design(labels=first["label"].to_numpy(), groups=codes)
        found.setdefault(place, {})[mode, policy] = OldCell(np.array(rows), design, trains[place, mode, policy])
    return found


def repeats(key: tuple[str, str]) -> bool:
    """Return whether a cell repeats grey-3ch by construction: one channel under a frozen stem."""
    return key[0] == "grey-1ch" and key[1] in ("freeze-early", "feature-extract")


def runs_of(cells: Mapping[tuple[str, str], OldCell]) -> dict[tuple[str, str], Runs]:
    """Return the moderated variances of a place's cells; repeated ones have those of their first."""
    found: dict[tuple[str, str], Runs] = {}
    for trains in (True, False):
        keys = [key for key, cell in cells.items() if cell.trains_a_backbone == trains and not repeats(key)]
        own = [between_runs(cells[key].correct, cells[key].design) for key in keys]
        kinds = [int(policy != "scratch") for _, policy in keys]
        accuracies = [float(cells[key].correct.mean()) for key in keys]
        images = [float(cells[key].correct.shape[1]) for key in keys]
        found |= zip(keys, moderate([each for each in own if each], kinds, accuracies, images), strict=True)
    return found | {key: found["grey-3ch", key[1]] for key in cells if repeats(key)}


def difference(cells: Mapping[tuple[str, str], OldCell], policies: Sequence[str]) -> Interval:
    """Return grey-3ch - grey-1ch, the mean over some policies."""
    runs = runs_of(cells)
    pairs = [(("grey-3ch", policy), ("grey-1ch", policy)) for policy in policies]
    values = np.sum([cells[first].correct - cells[second].correct for first, second in pairs], axis=0)
    # a repeated cell is a second draw of the same variance
    of_runs = combine((sign / len(pairs), runs[key]) for pair in pairs for key, sign in zip(pair, (1, -1), strict=True))
    return mean_difference(values, cells[pairs[0][0]].design, of_runs, len(pairs))


def points(interval: Interval) -> str:
    """Return a mean with its half-width, in points."""
    return f"{100 * interval.mean:+.2f} ± {100 * (interval.half_width or math.nan):.2f}"


def evaluate(folder: Path) -> tuple[str, list[str]]:
    """Return the text of ``version_1.md`` and what differs from the audit."""
    places = {place: cells for matrix in MATRICES for place, cells in read(folder, matrix).items()}
    found = {
        place: difference(cells, [policy for policy in STEM_IS_TRAINED if ("grey-1ch", policy) in cells])
        for place, cells in places.items()
    }
    lines = [
        "# Version 1's records with today's statistics",
        "",
        "Written by `python -m experiments.studies.version_1`. The runs are those of protocol 1, whose `finetune`",
        "spoiled its head; how grey-3ch and grey-1ch compare is not touched by that.",
        "",
        "grey-3ch − grey-1ch, in points of test accuracy, mean of the policies that train the stem:",
        "",
        "| matrix | dataset | points | degrees of freedom | runs |",
        "| :--- | :--- | ---: | ---: | ---: |",
        *(f"| {m} | {d} | {points(i)} | {i.df or math.nan:.1f} | {i.seeds} |" for (m, d), i in found.items()),
        "",
        "| pooled | inverse variance | audit | random effects | unweighted | Q |",
        "| :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    strange = []
    sets = {"the eight comparisons": list(found), "one per test set": list(SEPARATE_TEST_SETS)}
    for name, of in sets.items():
        intervals = [found[place] for place in of]
        fixed, mixed, spread = inverse_variance_mean(intervals), random_effects(intervals), heterogeneity(intervals)
        means = [f"{100 * each.mean:+.2f} ± {100 * each.half_width:.2f}" for each in (fixed, mixed)]
        mean, half = AUDIT[name]
        audit, q = f"{mean:+.2f} ± {half:.2f}", f"{spread.q:.1f} on {spread.df} (p {spread.p:.2f})"
        lines.append(f"| {name} | {means[0]} | {audit} | {means[1]} | {points(pool(intervals))} | {q} |")
        if abs(100 * fixed.mean - mean) > TOLERANCE or abs(100 * fixed.half_width - half) > TOLERANCE:
            strange.append(f"{name}: {means[0]}, audit {audit}")
    every: list[float] = []
    intervals = []
    for cells in (cells for place, cells in places.items() if ("grey-1ch", "freeze-early") in cells):
        first, second = (cells[mode, "freeze-early"].correct for mode in ("grey-3ch", "grey-1ch"))
        every += (100 * (first.mean(axis=1) - second.mean(axis=1))).tolist()
        intervals.append(difference(cells, ["freeze-early"]))
    rms = math.sqrt(float(np.mean(np.square(every))))
    zero = sum((i.low or 0) <= 0 <= (i.high or 0) for i in intervals)
    lines += [
        "",
        f"Noise floor: `freeze-early` in both modes is one function along two float paths. Its {len(every)} pairs of",
        f"runs differ by {min(every):+.1f} to {max(every):+.1f} points, root mean square {rms:.2f} (audit: {NOISE}). "
        f"{zero} of {len(intervals)} intervals hold zero:",
        f"{', '.join(map(points, intervals))}.",
        "",
    ]
    if abs(rms - NOISE) > TOLERANCE:
        strange.append(f"noise floor {rms:.2f}, audit {NOISE}")
    return "\n".join(lines), strange


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        if not extract(Path(folder)):
            raise SystemExit(
                f"commit {WITHDRAWN}~1 is not in this clone: `git fetch --unshallow` gets version 1's records"
            )
        text, strange = evaluate(Path(folder))
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    if strange:
        raise SystemExit("further from the audit than expected: " + "; ".join(strange))


if __name__ == "__main__":
    main()
