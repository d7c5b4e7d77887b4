"""A report of test images that come in groups."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import groups_file
from tests import factories


def test_groups_of_test_images_widen_intervals_and_are_reported(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["rps"], policies=["finetune", "scratch"], input_modes=["grey-3ch"])

    def correct(spec: RunSpec) -> np.ndarray:
        hands = np.repeat(np.random.default_rng(5).normal(size=16), 8)
        noise = np.random.default_rng([spec.seed, len(spec.policy)]).normal(size=128)
        return (hands + 0.5 * noise > (-0.5 if spec.policy == "finetune" else -0.2)).astype(np.int64)

    store = factories.fill(tmp_path, matrix, correct)
    alone = factories.texts(matrix, store)
    assert "| unknown |" in alone["report.md"]
    assert "rps: intervals assume independent test images." in alone["report.md"]
    groups = {name: f"hand {number // 8:02}" for number, name in enumerate(factories.image_ids(128))}
    groups_file.add(store.folder, {factories.FINGERPRINT: groups})
    grouped = factories.texts(matrix, store)
    assert "four hands a class. Its intervals have 16 groups as units." in grouped["report.md"]
    assert "| 128 | 16 |" in grouped["report.md"].replace("`", "")
    for name in ("table.csv", "differences.csv"):
        before, after = (list(csv.DictReader(io.StringIO(made[name]))) for made in (alone, grouped))
        for row, wider in zip(before, after, strict=True):
            assert (row["test_groups"], wider["test_groups"]) == ("", "16")
            assert float(wider["degrees_of_freedom"]) <= 18
            widths = [float(each["high_95"]) - float(each["low_95"]) for each in (row, wider)]
            assert widths[1] > 1.2 * widths[0]


def test_a_test_image_without_a_group_is_refused_by_name(tmp_path: Path) -> None:
    matrix = factories.grid(policies=["finetune", "scratch"], input_modes=["grey-3ch"])
    store = factories.fill(tmp_path, matrix, factories.latent())
    names = factories.image_ids(128)
    groups_file.add(store.folder, {factories.FINGERPRINT: {name: name for name in names[1:]}})
    with pytest.raises(UserError, match=rf"groups.csv: 1 of 128 test images .* have no group there, e.g. '{names[0]}'"):
        factories.texts(matrix, store)


def test_under_a_new_label_a_dataset_has_the_same_groups_intervals_and_images(tmp_path: Path) -> None:
    made = {"policies": ["finetune", "scratch"], "input_modes": ["grey-3ch"]}
    first, second = (
        factories.grid(datasets=[{"name": "beans", "label": label}], **made) for label in ("label 1", "label 2")
    )
    store = factories.fill(tmp_path, first, factories.latent())
    groups = {name: f"leaf {number // 4}" for number, name in enumerate(factories.image_ids(128))}
    groups_file.add(store.folder, {factories.FINGERPRINT: groups})
    before, after = (factories.texts(matrix, store) for matrix in (first, second))
    assert "32" in before["table.csv"]
    for name in ("table.csv", "differences.csv"):
        assert before[name].replace("label 1", "label 2") == after[name]
    assert "| label 2 | 3 (" in after["report.md"], "the table of the datasets has its images"
