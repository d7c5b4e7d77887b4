"""Which test images are hard: those that a mode's runs get wrong most often, and those on which two modes part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.predictions import Tested
from benchmark.analysis.results import Cell


@dataclass(frozen=True)
class Hard:
    """One test image as a group of runs saw it.

    Attributes:
        image_id: its name.
        label: its class.
        said: the class that the runs that were wrong said most often (the lowest number of several).
        wrong: runs of the group that were wrong on it.
        runs: runs of the group that were tested on it.
        others_wrong: runs of the group that it is compared with that were wrong on it; None without one.
        others_runs: runs of that group that were tested on it.
    """

    image_id: str
    label: int
    said: int
    wrong: int
    runs: int
    others_wrong: int | None = None
    others_runs: int = 0


def hardest(cells: Sequence[Cell], kept: Collection[str], most: int) -> list[Hard]:
    """Return the images that the runs of these cells got wrong most often, at most ``most``; none that all got right.

    By share of wrong runs, then by id.

    Args:
        cells: of one dataset; every done seed counts.
        kept: the images to choose among.
        most: at most so many.
    """
    images = _images([test for cell in cells for test in cell.tests.values()])
    return _chosen(images, images["wrong"] / images["runs"], kept, most)


def parted(right: Sequence[Cell], wrong: Sequence[Cell], kept: Collection[str], most: int) -> list[Hard]:
    """Return the images on which ``wrong`` errs more often than ``right``, those of the largest gap first, then by id.

    Only the pairs of policy and seed that are done in every mode of both sides count.

    Args:
        right: cells of one side.
        wrong: cells of the other, of the same dataset; `Hard.said` is what these answered.
        kept: the images to choose among.
        most: at most so many.
    """
    every = [*right, *wrong]
    done = [
        {(cell.key[2], seed) for cell in every if cell.key[1] == mode for seed in cell.seeds}
        for mode in {cell.key[1] for cell in every}
    ]
    common = set.intersection(*done) if done else set()
    sure, unsure = (
        _images([test for c in side for seed, test in c.tests.items() if (c.key[2], seed) in common])
        for side in (right, wrong)
    )
    both = unsure.join(sure[["wrong", "runs"]].add_prefix("others_"), how="inner")
    gap = both["wrong"] / both["runs"] - both["others_wrong"] / both["others_runs"]
    return _chosen(both, gap, kept, most)


def _images(tests: Sequence[Tested]) -> pd.DataFrame:
    """Return label, most frequent wrong answer (`Hard.said`), wrong runs and runs by image id."""
    if not tests:
        return pd.DataFrame(columns=["label", "wrong", "runs", "said"], dtype=float).rename_axis("image_id")
    answers = pd.concat(
        [
            pd.DataFrame({"image_id": t.images.ids, "label": t.images.labels, "said": t.predicted, "right": t.correct})
            for t in tests
        ]
    )
    answers["wrong"] = answers["right"] == 0
    images = answers.groupby("image_id").agg(label=("label", "first"), wrong=("wrong", "sum"), runs=("wrong", "size"))
    times = answers[answers["wrong"]].value_counts(["image_id", "said"]).reset_index()
    first = times.sort_values(["count", "said"], ascending=[False, True]).drop_duplicates("image_id")
    return images.join(first.set_index("image_id")["said"])


def _chosen(images: pd.DataFrame, share: pd.Series[float], kept: Collection[str], most: int) -> list[Hard]:
    """Return the kept images of the largest shares above zero, then by id."""
    images = images.assign(share=share)[(share > 0) & images.index.isin(list(kept))]
    first = images.sort_values(["share", "image_id"], ascending=[False, True]).head(most).astype({"said": int})
    rows = first.drop(columns="share").reset_index().to_dict("records")
    return [Hard(**{str(name): value for name, value in row.items()}) for row in rows]
