"""The hardest images, against counts made by hand."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from benchmark.analysis.hardest import find_disagreements, find_hardest
from benchmark.analysis.results import Cell
from benchmark.matrix.run_spec import RunSpec
from tests import factories

IDS = factories.image_ids(6)
MATRIX = factories.grid(input_modes=["rgb", "grey-3ch"], policies=["finetune", "scratch"], seeds=[0, 1])


def cells(
    folder: Path, wrong: dict[tuple[str, str, int], set[int]], keep: Collection[int] = (0, 1)
) -> dict[str, list[Cell]]:
    """Return cells by mode; ``wrong``: wrong images by (mode, policy, seed); ``keep``: seeds of grey-3ch."""

    def correct(spec: RunSpec) -> np.ndarray:
        missed = wrong.get((spec.input_mode, spec.policy, spec.seed), set())
        return np.array([int(k not in missed) for k in range(len(IDS))])

    store = factories.fill(folder, MATRIX, correct, lambda spec: spec.input_mode == "rgb" or spec.seed in keep)
    results = factories.results_of(MATRIX, store)
    return {mode: [c for c in results.by_key.values() if c.key[1] == mode] for mode in MATRIX.input_modes}


def test_images_are_ordered_by_how_often_they_are_wrong_and_by_name_among_equals(tmp_path: Path) -> None:
    made = cells(tmp_path, {("rgb", "finetune", 0): {5, 1}, ("rgb", "scratch", 1): {1, 4}})
    found = find_hardest(made["rgb"], IDS, 10)
    assert [(item.image_id, item.wrong, item.runs) for item in found] == [
        (IDS[1], 2, 4),
        *sorted([(IDS[4], 1, 4), (IDS[5], 1, 4)]),
    ]
    label = int(IDS[1][5:9]) % 3
    assert (found[0].label, found[0].wrong_answer) == (label, (label + 1) % 3)
    assert [item.image_id for item in find_hardest(made["rgb"], {IDS[4]}, 10)] == [IDS[4]]
    assert len(find_hardest(made["rgb"], IDS, 1)) == 1
    assert find_hardest(made["grey-3ch"], IDS, 10) == []


def test_two_sides_part_where_one_errs_more_often_and_only_on_runs_that_both_have(tmp_path: Path) -> None:
    wrong = {
        ("grey-3ch", "finetune", 0): {0, 2},
        ("grey-3ch", "scratch", 0): {0},
        ("rgb", "scratch", 0): {2, 3},
        ("rgb", "finetune", 1): {0, 1, 3},  # seed 1 of grey-3ch is not done: these do not count
    }
    made = cells(tmp_path, wrong, keep={0})
    (only,) = find_disagreements(made["rgb"], made["grey-3ch"], IDS, 10)
    assert (only.image_id, only.wrong, only.runs, only.others_wrong, only.others_runs) == (IDS[0], 2, 2, 0, 2)
    (other,) = find_disagreements(made["grey-3ch"], made["rgb"], IDS, 10)
    assert (other.image_id, other.wrong, other.others_wrong) == (IDS[3], 1, 0)
    assert find_disagreements(made["rgb"], [], IDS, 10) == []
