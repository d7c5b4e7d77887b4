"""The hardest test images: those most often wrong in a mode, and those on which two modes disagree."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.analysis.predictions import TestResults
from benchmark.analysis.results import Cell


@dataclass(frozen=True)
class HardImage:
    """The answers of a group of runs on one test image.

    Attributes:
        image_id: id of the image.
        label: class of the image.
        said: the most frequent wrong answer (the lowest class at a tie).
        wrong: number of runs that were wrong.
        runs: number of runs tested on the image.
        others_wrong: wrong runs of the group compared with, or None if there is no such group.
        others_runs: runs of that group tested on the image.
    """

    image_id: str
    label: int
    wrong_answer: int
    wrong: int
    runs: int
    others_wrong: int | None = None
    others_runs: int = 0


def find_hardest(cells: Sequence[Cell], kept: Collection[str], most: int) -> list[HardImage]:
    """Return the images that runs got wrong most often, by share of wrong runs, then by id.

    Args:
        cells: cells of one dataset; every done seed counts.
        kept: ids of the images to choose from.
        most: maximum number of images to return.
    """
    images = _images([test for cell in cells for test in cell.tests.values()])
    return _chosen(images, images["wrong"] / images["runs"], kept, most)


def find_disagreements(
    right: Sequence[Cell], wrong: Sequence[Cell], kept: Collection[str], most: int
) -> list[HardImage]:
    """Return the images that ``wrong`` gets wrong more often than ``right``, by the gap in their shares, then by id.

    Only pairs of policy and seed that are done in every mode of both sides count.

    Args:
        right: cells of one side, all of one setup.
        wrong: cells of the other side, of the same dataset and setup; `HardImage.wrong_answer` is their answer.
        kept, most: as in `find_hardest`.
    """
    every = [*right, *wrong]
    done = [
        {(cell.key.policy, seed) for cell in every if cell.key.input_mode == mode for seed in cell.seeds}
        for mode in {cell.key.input_mode for cell in every}
    ]
    common = set.intersection(*done) if done else set()
    sure, unsure = (
        _images([test for c in side for seed, test in c.tests.items() if (c.key.policy, seed) in common])
        for side in (right, wrong)
    )
    both = unsure.join(sure[["wrong", "runs"]].add_prefix("others_"), how="inner")
    gap = both["wrong"] / both["runs"] - both["others_wrong"] / both["others_runs"]
    return _chosen(both, gap, kept, most)


def _images(tests: Sequence[TestResults]) -> pd.DataFrame:
    """Return label, most frequent wrong answer (`HardImage.wrong_answer`), wrong runs and runs by image id."""
    if not tests:
        return pd.DataFrame(columns=["label", "wrong", "runs", "wrong_answer"], dtype=float).rename_axis("image_id")
    answers = pd.concat(
        [
            pd.DataFrame(
                {"image_id": t.images.ids, "label": t.images.labels, "wrong_answer": t.predicted, "right": t.correct}
            )
            for t in tests
        ]
    )
    answers["wrong"] = answers["right"] == 0
    images = answers.groupby("image_id").agg(label=("label", "first"), wrong=("wrong", "sum"), runs=("wrong", "size"))
    times = answers[answers["wrong"]].value_counts(["image_id", "wrong_answer"]).reset_index()
    first = times.sort_values(["count", "wrong_answer"], ascending=[False, True]).drop_duplicates("image_id")
    return images.join(first.set_index("image_id")["wrong_answer"])


def _chosen(images: pd.DataFrame, share: pd.Series[float], kept: Collection[str], most: int) -> list[HardImage]:
    """Return the kept images of the largest shares above zero, then by id."""
    images = images.assign(share=share)[(share > 0) & images.index.isin(list(kept))]
    first = images.sort_values(["share", "image_id"], ascending=[False, True]).head(most).astype({"wrong_answer": int})
    rows = first.drop(columns="share").reset_index().to_dict("records")
    return [HardImage(**{str(name): value for name, value in row.items()}) for row in rows]
