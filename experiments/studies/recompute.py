"""Accuracies, differences and their intervals, computed a second time, without a line of the package.

``python -m experiments.studies.recompute RESULTS...`` reads records, predictions, ``groups.csv`` and ``matrix.yaml``
of results folders, computes every cell's accuracy, every difference and every mean over test sets with its interval,
and compares them with the digits of ``table.csv``, ``differences.csv`` and ``report.md``. Of a folder with
``answers.csv`` it recomputes the answers that `experiments.studies.answers` pools over the results below it. It prints
each disagreement, and exits with 1 if there is one. The formulas are those of the docstrings of
`benchmark.analysis.uncertainty`; they are written down here anew, from the docstrings and not from the code.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import special, stats

Part = tuple[float, float]
"""A part of a variance with its degrees of freedom."""

ROUNDING = 1e-9
"""Largest difference from a printed number beyond half of its last digit."""


@dataclass
class Cell:
    """A cell's runs: one row per run and test image.

    Attributes:
        frame: columns seed, image, label, unit (its group, or itself), right.
        folds: of a cross-validation, or None.
        trains_a_backbone: whether any stage does.
        is_pretrained: whether it starts from weights.
        own: between-run variance of accuracy with its degrees of freedom, None for one run.
        moderated: the same with the dataset's other cells.
        scale: the pool that moderated it, with its degrees of freedom, or None.
        has_runs: False for a floor row, which is the same for every seed.
    """

    frame: pd.DataFrame
    folds: int | None
    trains_a_backbone: bool
    is_pretrained: bool
    own: Part | None = None
    moderated: Part | None = None
    scale: tuple[str, float] | None = None
    has_runs: bool = True


@dataclass
class Answer:
    """A mean with its interval; ``limits`` None where images are too few to tell."""

    mean: float
    limits: tuple[float, float] | None
    error: float
    df: float
    seeds: int

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return math.nan if self.limits is None else (self.limits[1] - self.limits[0]) / 2


def read(folder: Path) -> dict[tuple[str, ...], Cell]:
    """Return the cells of a results folder by dataset, model, image size, input mode and policy."""
    matrix = yaml.safe_load((folder / "matrix.yaml").read_text())
    plan = pd.read_parquet(folder / "runs.parquet")
    wanted = set(plan.loc[plan["state"] == "done", "id"])
    groups = pd.read_csv(folder / "groups.csv", dtype=str) if (folder / "groups.csv").exists() else None
    rows: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    facts: dict[tuple[str, ...], tuple[int | None, bool, bool]] = {}
    for path in sorted((folder / "records").glob("*.json")):
        record = json.loads(path.read_text())
        if record.get("id") not in wanted:
            continue
        spec = record["spec"]
        frame = pd.read_parquet(folder / "records" / record["predictions"]["file"])
        right = frame["label"] == frame["predicted"]
        if abs(right.mean() - record["test"]["accuracy"]) > 1e-6:
            raise SystemExit(f"{path}: accuracy {record['test']['accuracy']}, predictions give {right.mean()}")
        made = pd.DataFrame({"seed": spec["seed"], "image": frame["image_id"], "label": frame["label"], "right": right})
        made["unit"] = made["image"]
        if groups is not None:
            own = groups[[record["dataset"]["fingerprint"].startswith(name) for name in groups["fingerprint"]]]
            if len(own):
                made["unit"] = made["image"].map(own.set_index("image_id")["group"])
        title = next(_title(entry) for entry in matrix["datasets"] if _is_of(entry, spec["source"]))
        key = (title, spec["model"], str(spec["image_size"]), spec["input_mode"], spec["policy"])
        rows.setdefault(key, []).append(made)
        trains = any(stage["trainable"] != "head" for stage in spec["stages"])
        facts[key] = record["dataset"]["folds"], trains, spec["weights"] != "none"
    return {key: Cell(pd.concat(frames), *facts[key]) for key, frames in rows.items()}


def read_floor(folder: Path, dataset: str, method: str, cell: Cell) -> Cell:
    """Return a floor row as a cell with the seeds of another one: each has the row of its fold or split."""
    matrix = yaml.safe_load((folder / "matrix.yaml").read_text())
    found = []
    for path in sorted((folder / "floor").glob("*.json")):
        spec = json.loads(path.read_text())["spec"]
        title = next((_title(entry) for entry in matrix["datasets"] if _is_of(entry, spec["source"])), None)
        if (title, spec["method"]) != (dataset, method):
            continue
        for seed in cell.frame["seed"].unique():
            of_fold = spec["fold"] is None or spec["fold"] == seed % (cell.folds or 1)
            if of_fold and (matrix.get("split_seed") != "seed" or spec["split_seed"] == seed):
                frame = pd.read_parquet(path.with_suffix(".parquet"))
                right = frame["label"] == frame["predicted"]
                found.append(pd.DataFrame({"seed": seed, "image": frame["image_id"], "right": right}))
    return Cell(pd.concat(found), cell.folds, trains_a_backbone=False, is_pretrained=False, has_runs=False)


def _entry(entry: Any) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {"name": entry}


def _short(name: str) -> str:
    return PurePath(name.removeprefix("folder:")).name if name.startswith("folder:") else name


def _title(entry: Any) -> str:
    return str(_entry(entry).get("label") or _short(_entry(entry)["name"]))


def _is_of(entry: Any, source: dict[str, Any]) -> bool:
    """Return whether a record's source is an entry's; records keep no path of a folder but its last part."""
    given = {"limit": None, "classes": None, **_entry(entry)}
    rest = {key: value for key, value in given.items() if key not in ("label", "name")}
    return _short(source["name"]) == _short(_entry(entry)["name"]) and all(source[k] == v for k, v in rest.items())


def by_units(frame: pd.DataFrame, value: str) -> list[tuple[float, float]]:
    """Return each class's share of the variance of the mean of ``value`` over images, with its degrees of freedom.

    A unit g of n_g images in a class of N_k, whose mean is m_k, adds e_g = sum - n_g m_k; the class's part is
    sum of e_g^2 / (1 - n_g / N_k), over the square of all images.
    """
    images = len(frame)
    of_class = frame["label"]
    if frame.groupby("unit")["label"].nunique().max() > 1:
        of_class = pd.Series(0, index=frame.index)
    units = frame.assign(of_class=of_class).groupby("of_class")["unit"].nunique()
    alone = list(units[units < 2].index)
    if len(alone) == 1 and len(units) > 1:
        alone.append(units.drop(alone).idxmin())
    if alone:
        of_class = of_class.where(~of_class.isin(alone), min(alone))
    parts = []
    for _, one in frame.groupby(of_class.to_numpy()):
        by = one.groupby("unit")[value]
        sizes, sums = by.size().to_numpy(dtype=float), by.sum().to_numpy(dtype=float)
        errors = sums - sizes * one[value].mean()
        squares = (errors**2 / (1 - sizes / sizes.sum())).sum() / images**2
        effective = (sizes**2).sum() ** 2 / (sizes**4).sum()
        parts.append((squares, max(effective - 1, 1.0)))
    return parts


def total(parts: Sequence[Part]) -> Part:
    """Return the sum of independent parts, with Satterthwaite's degrees of freedom."""
    variance = math.fsum(v for v, _ in parts)
    below = math.fsum(v**2 / df for v, df in parts)
    return variance, variance**2 / below if below else math.fsum(df for _, df in parts)


def of_images(frame: pd.DataFrame, folds: int | None, value: str) -> Part:
    """Return the images' part of the variance of a mean over seeds."""
    seen = frame.groupby("image")["seed"].agg(tuple) if folds else frame.groupby("image")["seed"].agg(lambda _: 0)
    averaged = frame.groupby("image").agg({value: "mean", "label": "first", "unit": "first"})
    parts = []
    for _, fold in averaged.groupby(seen):
        weight = (len(fold) / len(averaged)) ** 2
        parts += [(weight * v, df) for v, df in by_units(fold, value)]
    return total(parts)


def of_residual(frame: pd.DataFrame, folds: int | None, value: str) -> Part:
    """Return what images alone make the accuracies of single runs vary."""
    seeds = frame["seed"].nunique()
    if folds:
        parts = [total(by_units(one, value)) for _, one in frame.groupby("seed")]
        return total([(v / seeds, df) for v, df in parts])
    apart = frame.assign(rest=frame[value] - frame.groupby("image")[value].transform("mean"))
    rows = [by_units(one, "rest") for _, one in apart.groupby("seed")]
    return total(
        [(sum(row[k][0] for row in rows) / (seeds - 1), rows[0][k][1] * (seeds - 1)) for k in range(len(rows[0]))]
    )


def moderate(cells: dict[tuple[str, ...], Cell]) -> None:
    """Set the cells' between-run variances: their own, and moderated by the dataset's other cells.

    Cells that train a backbone share d0, and so do heads; the scale is that of pretrained cells, or of the others.
    """
    pools: dict[tuple[str, bool], dict[bool, list[Cell]]] = {}
    for key, cell in cells.items():
        means = cell.frame.groupby("seed")["right"].mean()
        if len(means) > 1:
            cell.own = cell.moderated = (float(means.var(ddof=1)), len(means) - 1.0)
            if 0 < cell.frame["right"].mean() < 1:
                kinds = pools.setdefault((key[0], cell.trains_a_backbone), {})
                kinds.setdefault(cell.is_pretrained, []).append(cell)
    for pool, kinds in pools.items():
        shared = [own for own in kinds.values() if len(own) > 1]
        if sum(map(len, shared)) < 4:
            continue
        logs, trigammas, scales = [], [], []
        for kind in shared:
            s2, d = np.array([cell.own for cell in kind]).T
            p = np.array([cell.frame["right"].mean() for cell in kind])
            images = np.array([len(cell.frame) / cell.frame["seed"].nunique() for cell in kind])
            floored = np.maximum(s2, p * (1 - p) / images / 100)
            scales.append((d * floored).sum() / d.sum())
            e = np.log(floored) - special.psi(d / 2) + np.log(d / 2)
            logs += list(e - e.mean())
            trigammas += list(special.polygamma(1, d / 2))
        d0 = _inverse_trigamma(np.square(logs).sum() / (len(logs) - len(shared)) - np.mean(trigammas))
        for kind, s0 in zip(shared, scales, strict=True):
            together = sum(cell.own[1] for cell in kind if cell.own)
            if kind[0].folds:
                of_fold = np.array([of_residual(cell.frame, cell.folds, "right")[0] for cell in kind])
                d = np.array([cell.own[1] for cell in kind if cell.own])
                alike = min((of_fold * d).sum() / d.sum() / s0, 1.0)
                together = 1 / (1 / together + alike**2 / d.mean())
            for cell in kind:
                assert cell.own is not None
                own, df = cell.own
                cell.moderated = (s0 if math.isinf(d0) else (d0 * s0 + df * own) / (d0 + df), d0 + df)
                cell.scale = (f"{pool} {cell.is_pretrained}", together)


def _inverse_trigamma(value: float) -> float:
    """Return d0 with trigamma(d0 / 2) = value by bisection of the logarithm, infinite where there is none."""
    if value <= 0:
        return math.inf
    low, high = -30.0, 30.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if special.polygamma(1, math.exp(middle)) > value else (low, middle)
    return 2 * math.exp(low)


def compare(pairs: Sequence[tuple[Cell, float]]) -> tuple[pd.DataFrame, list[tuple[Cell, float]]]:
    """Return the sum of cells, each with its coefficient, on the seeds and images of all, as column ``value``."""
    summed = pd.Series(dtype=float)
    for k, (cell, coefficient) in enumerate(pairs):
        own = cell.frame.set_index(["seed", "image"])["right"].astype(float) * coefficient
        summed = own if k == 0 else (summed + own).dropna()
    facts = pairs[0][0].frame.set_index(["seed", "image"])[["label", "unit"]]
    frame = facts.join(summed.rename("value"), how="inner").dropna(subset="value").reset_index()
    whole: dict[int, tuple[Cell, float]] = {}
    for cell, coefficient in pairs:
        whole[id(cell)] = (cell, whole.get(id(cell), (cell, 0.0))[1] + coefficient)
    return frame, list(whole.values())


def answer(pairs: Sequence[tuple[Cell, float]], is_share: bool = False) -> Answer | None:
    """Return the mean of a sum of cells with its 95 % interval, or None without a common seed."""
    frame, cells = compare(pairs)
    if frame.empty:
        return None
    cells = [(cell, coefficient) for cell, coefficient in cells if cell.has_runs]
    folds = pairs[0][0].folds
    seeds = frame["seed"].nunique()
    mean = float(frame.groupby("seed")["value"].mean().mean())
    if seeds == 1:
        folds = None
    variance, df = of_images(frame, folds, "value")
    if seeds > 1 and all(cell.moderated for cell, _ in cells):
        overlap = 1 / seeds + (1 / (folds - 1) if folds else 0)
        own = [(c**2 * cell.moderated[0], cell.moderated[1]) for cell, c in cells if cell.moderated]
        scales: dict[tuple[str, float], float] = {}
        for (v, _), (cell, _) in zip(own, cells, strict=True):
            if cell.scale:
                scales[cell.scale] = scales.get(cell.scale, 0) + v
        runs = sum(v for v, _ in own)
        below = math.fsum(v**2 / df for v, df in own) + math.fsum(v**2 / scale[1] for scale, v in scales.items())
        runs_df = runs**2 / below if below else math.inf
        residual = total([(c**2 * v, df) for cell, c in cells for v, df in [of_residual(cell.frame, folds, "right")]])
        if runs - residual[0] > 1e-12 * runs:
            least = min(df, runs_df)
            squares = variance**2 / df + (overlap * runs) ** 2 / runs_df + (overlap * residual[0]) ** 2 / residual[1]
            variance += overlap * (runs - residual[0])
            df = max(variance**2 / squares, least)
    return _interval(frame, mean, variance, df, seeds, is_share)


def _interval(frame: pd.DataFrame, mean: float, variance: float, df: float, seeds: int, is_share: bool) -> Answer:
    t = float(stats.t.ppf(0.975, df))
    units, values = frame["unit"].nunique(), frame.groupby("image")["value"]
    if not is_share:
        informative = int((values.apply(lambda own: (own.abs() > 1e-12).any())).sum())
        half = max(t * math.sqrt(variance), 3 / units if informative < 10 else 0.0)
        return Answer(mean, (mean - half, mean + half), half / t, df, seeds)
    informative = min(int((values.min() == 0).sum()), int((values.max() == 1).sum()))
    n = mean * (1 - mean) / variance if variance > 0 else math.inf
    n = min(n, units if informative < 10 and n > units else len(frame))
    centre = (mean + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t / (1 + t**2 / n) * math.sqrt(mean * (1 - mean) / n + t**2 / (4 * n**2))
    limits = min(max(centre - half, 0), mean), max(min(centre + half, 1), mean)
    return Answer(mean, limits, math.sqrt(variance), df, seeds)


def pooled(answers: Sequence[Answer]) -> Answer:
    """Return the unweighted mean over test sets."""
    variance, df = total([(each.error**2, each.df) for each in answers])
    mean, error = float(np.mean([each.mean for each in answers])), math.sqrt(variance) / len(answers)
    half = float(stats.t.ppf(0.975, df)) * error
    return Answer(mean, (mean - half, mean + half), error, df, min(each.seeds for each in answers))


def sentence_on_other_means(answers: Sequence[Answer]) -> str:
    """Return what the report says on weighted means and heterogeneity."""
    d, v = np.array([each.mean for each in answers]), np.array([each.error**2 for each in answers])
    w = 1 / v
    fixed = (w * d).sum() / w.sum()
    q, df = float((w * (d - fixed) ** 2).sum()), len(d) - 1
    mixed = 1 / (v + max(0.0, (q - df) / (w.sum() - (w**2).sum() / w.sum())))
    z = float(stats.norm.ppf(0.975))
    both = [(fixed, z / math.sqrt(w.sum())), ((mixed * d).sum() / mixed.sum(), z / math.sqrt(mixed.sum()))]
    one, other = (f"{_percent(mean)} ± {_percent(half)}" for mean, half in both)
    p = float(stats.chi2.sf(q, df))
    return (
        f"Weighted by inverse variance the mean is {one}, with random effects {other} (DerSimonian and Laird; normal "
        f"intervals). Cochran's Q is {q:.1f} on {df} degrees of freedom (p {'< 0.001' if p < 0.001 else f'{p:.3f}'})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def _signed(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def read_table(folder: Path) -> pd.DataFrame:
    """Return the rows of ``table.csv`` that have an accuracy, by the names of their cells."""
    table = pd.read_csv(folder / "table.csv", dtype=str, keep_default_na=False)
    names = ["dataset", "model", "image_size", "input_mode", "policy"]
    return table[table["accuracy"] != ""].set_index(names, drop=False)


def in_table(cells: dict[tuple[str, ...], Cell], table: pd.DataFrame) -> dict[tuple[str, ...], Cell]:
    """Return the cells that have a row, with moderated variances; the others repeat one of them by construction."""
    found = {key: cell for key, cell in cells.items() if key in table.index}
    moderate(found)
    return found


def disagreements(folder: Path) -> Iterator[str]:
    """Yield each printed number of a results folder that is not the recomputed one."""
    every = read(folder)
    table = read_table(folder)
    cells = in_table(every, table)
    if len(cells) < len(table):
        yield f"{folder}/table.csv: {len(table)} rows, {len(cells)} cells with done runs"
    report = (folder / "report.md").read_text().replace("\\", "").replace("*", "").replace("★", "")
    lines = [line.replace(" |", "|") for line in report.splitlines()]
    for key, cell in cells.items():
        found = answer([(cell, 1.0)], is_share=True)
        assert found is not None
        row = table.loc[[key]].iloc[0]
        wanted = {"accuracy": found.mean, "degrees_of_freedom": found.df}
        wanted |= dict(zip(("low_95", "high_95"), found.limits or (), strict=False))
        yield from _compared(f"{folder}/table.csv: {' '.join(key)}", row, wanted)
        low, high = found.limits or (math.nan, math.nan)
        text = f"{_percent(found.mean)} ({_percent(low)}–{_percent(high)})"
        if not any(f"| {key[3]}|" in line and text in line for line in lines):
            yield f"{folder}/report.md: {' '.join(key)}: {text} is not there"
    if len(every) > len(cells):
        sys.stderr.write(f"{folder}: not in table.csv, as the same by construction: {len(every) - len(cells)} cells\n")
    yield from _differences(folder, cells, lines)


def _differences(folder: Path, cells: dict[tuple[str, ...], Cell], lines: Sequence[str]) -> Iterator[str]:
    rows = pd.read_csv(folder / "differences.csv", dtype=str, keep_default_na=False)
    rows = rows[rows["difference"] != ""]
    margin = float(yaml.safe_load((folder / "matrix.yaml").read_text())["equivalence_margin"]) / 100
    headlines: dict[tuple[str, ...], list[Answer]] = {}
    seen: dict[int, Answer] = {}
    for k, row in rows.iterrows():
        same = (row["family"], row["model"], row["image_size"], row["first"], row["second"], row["context"])
        if row["dataset"].startswith("mean of "):
            found: Answer | None = pooled(headlines[same])
            if not any(sentence_on_other_means(headlines[same]) in line for line in lines):
                yield f"{folder}/report.md: {row['first']} - {row['second']}: other means than recomputed"
        else:
            pairs = _pairs(folder, row, cells)
            found = answer(pairs)
            ceiling = all(cell.frame.groupby("seed")["right"].mean().mean() >= 0.99 for cell, _ in pairs)
            if found is not None and row["headline"] == "yes" and not ceiling and row["dataset"] not in CONTROLS:
                headlines.setdefault(same, []).append(found)
        if found is None:
            yield f"{folder}/differences.csv: {_name(row)}: no common seed"
            continue
        seen[int(str(k))] = found
        low, high = found.limits or (math.nan, math.nan)
        numbers = {"difference": found.mean, "half_width_95": found.half_width, "low_95": low, "high_95": high}
        numbers |= {"degrees_of_freedom": found.df, "seeds_paired": found.seeds}
        if found.seeds >= 3:
            t = found.mean / found.error
            numbers |= {
                "p_value": 2 * stats.t.sf(abs(t), found.df),
                "smallest_visible_difference": (stats.t.ppf(0.975, found.df) + stats.t.ppf(0.8, found.df))
                * found.error,
                "p_value_equivalence": stats.t.cdf((abs(found.mean) - margin) / found.error, found.df),
            }
        yield from _compared(f"{folder}/differences.csv: {_name(row)}", row, numbers)
        text = f"{_signed(found.mean)} ± {100 * found.half_width:.1f}"
        place = (f"| {row['dataset']}|", f"{row['first']} − {row['second']}|", f"| {row['context']}|", f"| {text}|")
        if not any(all(part in line for part in place) for line in lines):
            yield f"{folder}/report.md: {_name(row)}: {text} is not there"


CONTROLS = ("shape-control", "hue-control")
"""Generated datasets, which have no part in a mean."""


def _name(row: pd.Series) -> str:
    return f"{row['dataset']} {row['model']} {row['image_size']} {row['first']} - {row['second']}, {row['context']}"


def _pairs(folder: Path, row: pd.Series, cells: dict[tuple[str, ...], Cell]) -> list[tuple[Cell, float]]:
    """Return the cells of a difference with their coefficients, from the words of its row."""
    if row["second"].startswith("best floor row ("):
        cell = cells[(row["dataset"], row["model"], row["image_size"], row["context"], row["first"])]
        method = row["second"].removeprefix("best floor row (").removesuffix(")")
        return [(cell, 1.0), (read_floor(folder, row["dataset"], method, cell), -1.0)]
    places = row["context"].removeprefix("mean of ").replace(" and ", ", ").split(", ")
    found = []
    for place in places:
        for side, sign in (("first", 1), ("second", -1)):
            own = (place, row[side]) if row["family"] in ("pretraining", "stages") else (row[side], place)
            found.append((cells[(row["dataset"], row["model"], row["image_size"], *own)], sign / len(places)))
    return found


QUESTIONS = Path(__file__).with_name("preregistered.yaml")

AGAIN = {"grey-1ch": "grey-3ch", "grey-3ch": "grey-1ch"}
"""Input mode -> the one that is the same function where the stem is not trained."""


def disagreements_of_answers(folder: Path, questions: Path = QUESTIONS) -> Iterator[str]:
    """Yield each number and verdict of ``answers.csv`` that is not the recomputed one."""
    asked = yaml.safe_load(questions.read_text())
    table = pd.read_csv(folder / "answers.csv", dtype=str, keep_default_na=False)
    names = ["question", "comparison", "matrix", "dataset"]
    printed = {tuple(row[names]): row for _, row in table.iterrows()}
    loaded: dict[str, dict[tuple[str, ...], Cell]] = {}
    for question in asked["questions"]:
        level = question["error"] / len(question["comparisons"])
        for comparison in question["comparisons"]:
            where = f"{folder}/answers.csv: {question['id']} {comparison['name']}"
            counted = []
            for name, datasets in asked["test_sets"][comparison["test_sets"]].items():
                if name not in loaded:
                    has_report = (folder / name / "table.csv").is_file()
                    loaded[name] = in_table(read(folder / name), read_table(folder / name)) if has_report else {}
                for dataset in datasets:
                    row = printed[question["id"], comparison["name"], name, dataset]
                    pairs = _pairs_of(comparison, asked, dataset, folder / name, loaded[name])
                    found = answer(pairs) if pairs else None
                    if found is None:
                        if row["difference"] or row["note"] not in ("not measured", "0 seeds done"):
                            yield f"{where} on {dataset}: there is nothing to compute it from"
                        continue
                    yield from _compared(f"{where} on {dataset}", row, _ends(found))
                    cells = [cell for cell, _ in pairs if cell.has_runs]
                    fewest = min(cell.frame["seed"].nunique() for cell in cells)
                    ceiling = all(cell.frame.groupby("seed")["right"].mean().mean() >= 0.99 for cell in cells)
                    if (fewest < 3 or ceiling) != bool(row["note"]):
                        yield f"{where} on {dataset}: {row['note'] or 'counted'}, with {fewest} seeds"
                    counted += [] if fewest < 3 or ceiling else [found]
            row = printed[question["id"], comparison["name"], "", ""]
            if not counted:
                if row["verdict"] != "not measured":
                    yield f"{where}: {row['verdict']}, without a test set that counts"
                continue
            mean = pooled(counted)
            p = 2 * stats.t.sf(abs(mean.mean / mean.error), mean.df)
            yield from _compared(where, row, {**_ends(mean), "p": min(1.0, p * 0.05 / level)})
            first, second = comparison["name"].split(",")[0].split(" - ")
            wanted = f"{first if mean.mean > 0 else second} is better" if p < level else "inconclusive"
            if stats.t.cdf((abs(mean.mean) - asked["margin"] / 100) / mean.error, mean.df) < level:
                wanted = "equivalent"
            if not row["verdict"].startswith(wanted):
                yield f"{where}: {row['verdict']}, recomputed as {wanted}"


def _ends(found: Answer) -> dict[str, float]:
    low, high = found.limits or (math.nan, math.nan)
    return {"difference": found.mean, "low": low, "high": high, "seeds": found.seeds}


def _pairs_of(
    comparison: dict[str, Any], asked: dict[str, Any], dataset: str, folder: Path, cells: dict[tuple[str, ...], Cell]
) -> list[tuple[Cell, float]]:
    """Return the cells of a comparison on a data set with their coefficients; empty if one of them has no run."""

    def cells_of(side: dict[str, Any]) -> list[tuple[str, ...]]:
        setup = (side.get("model", asked["model"]), str(side.get("image_size", asked["image_size"])))
        modes, policies = (np.atleast_1d(side[name]) for name in ("input_mode", "policy"))
        keys = [((dataset, *setup), str(mode), str(policy)) for mode in modes for policy in policies]
        return [
            (*place, AGAIN.get(mode, mode) if (*place, mode, policy) not in cells else mode, policy)
            for place, mode, policy in keys
        ]

    first, second = cells_of(comparison["first"]), comparison["second"]
    against_floor = second == "floor"
    pairs = list(dict.fromkeys(zip(first, first if against_floor else cells_of(second), strict=True)))
    if any(key not in cells for pair in pairs for key in pair):
        return []
    found = []
    for one, other in pairs:
        reference = cells[other]
        if against_floor:
            method = _best_floor(folder, dataset)
            if method is None:
                return []
            reference = read_floor(folder, dataset, method, cells[one])
        found += [(cells[one], 1 / len(pairs)), (reference, -1 / len(pairs))]
    return found


FLOOR = ("majority", "1-nn", "5-nn", "logistic")
"""Methods of floor rows, the simplest first."""


def _best_floor(folder: Path, dataset: str) -> str | None:
    """Return the method of the best validation accuracy, in the mean of its splits or folds."""
    matrix = yaml.safe_load((folder / "matrix.yaml").read_text())
    found: dict[str, list[float]] = {}
    for path in (folder / "floor").glob("*.json"):
        row = json.loads(path.read_text())
        title = next((_title(entry) for entry in matrix["datasets"] if _is_of(entry, row["spec"]["source"])), None)
        if title == dataset:
            found.setdefault(row["spec"]["method"], []).append(row["validation"]["accuracy"])
    return max(sorted(found, key=FLOOR.index), key=lambda name: float(np.mean(found[name])), default=None)


def _compared(where: str, row: pd.Series, wanted: dict[str, float]) -> Iterator[str]:
    for column, value in wanted.items():
        text = row[column]
        decimals = len(text.partition(".")[2])
        if not text or abs(float(text) - value) > 0.5 * 10**-decimals + ROUNDING:
            yield f"{where}: {column} is printed as {text or 'nothing'}, recomputed as {value:.{decimals + 2}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the folders and print what disagrees."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results folders, or the one of the answers")
    folders = parser.parse_args(arguments).results
    found = [
        line
        for folder in folders
        for line in (disagreements_of_answers if (folder / "answers.csv").is_file() else disagreements)(folder)
    ]
    sys.stdout.write("\n".join([*found, f"{len(found)} disagreements"]) + "\n")
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
