"""The matrices under experiments/: they load, have the runs they promise, and explain each of their keys."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml

from benchmark import matrix_file
from benchmark.matrix import Matrix, expand
from benchmark.settings import EarlyStopping, TrainingSettings

RUNS = {
    "full": 81,
    "cpu": 90,
    "smoke": 12,
    "quick": 18,
    "elpv": 18,
    "ablation": 35,
    "hotdog": 18,
    "flowers102": 90,
    "finetune-vs-features": 12,
    "thumbs": 1,
    "size-similarity": 96,
}


def load(name: str) -> Matrix:
    return matrix_file.load(matrix_file.find(name))


def text_of(name: str) -> str:
    return matrix_file.find(name).read_text(encoding="utf-8")


def test_each_of_the_promised_matrices_is_shipped() -> None:
    assert set(RUNS) <= set(matrix_file.shipped())


@pytest.mark.parametrize(("name", "runs"), RUNS.items())
def test_a_shipped_matrix_has_its_number_of_runs_and_its_own_name(name: str, runs: int) -> None:
    made = load(name)
    assert made.name == name
    assert len({run.id for run in expand(made)}) == runs


@pytest.mark.parametrize("name", matrix_file.shipped())
def test_a_shipped_matrix_states_every_key_and_comments_each(name: str) -> None:
    text = text_of(name)
    data = yaml.safe_load(text)
    assert set(data) == set(Matrix.model_fields)
    assert set(data["training"]) == set(TrainingSettings.model_fields)
    top = [line for line in text.splitlines() if re.match("[a-z_]+:", line)]
    block = text.partition("\ntraining:")[2].partition("\nthreads:")[0]
    keys = top + [line for line in block.splitlines() if re.match("  [a-z_]+:", line)]
    assert len(keys) == len(data) + len(data["training"])
    without = [line for line in keys if not re.search(r"\s# \w", line)]
    assert without == []


def test_full_is_the_article() -> None:
    made = load("full")
    assert made.training == TrainingSettings(
        image_size=224,
        batch_size=32,
        epochs=60,
        head_epochs=made.training.head_epochs,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=made.training.weight_decay,
        scheduler="cosine",
        augment=("hflip",),
        early_stopping=EarlyStopping(patience=10),
        precision="auto",
    )
    assert made.models == ("timm/resnetrs50.tf_in1k",)
    assert made.weights == "hub"
    assert Counter((run.dataset, run.input_mode, run.policy) for run in expand(made)) == {
        (dataset, mode, policy): 3
        for dataset in ("beans", "rps", "pets")
        for mode in ("rgb", "grey-3ch", "grey-1ch")
        for policy in ("finetune", "finetune-whole", "scratch")
    }


def test_full_marks_each_setting_as_the_articles_or_as_our_choice() -> None:
    settings = [line for line in text_of("full").splitlines() if re.match(r" *[a-z_]+:", line)]
    bookkeeping = ("name:", "training:", "timeout:", "keep_weights:", "keep_thumbnails:", "equivalence_margin:")
    unmarked = [line for line in settings if not re.search(r"article|our choice", line)]
    assert [line for line in unmarked if not line.startswith(bookkeeping)] == []
    for key in ("seeds", "split_seed", "head_epochs", "weight_decay", "precision", "threads"):
        (line,) = [line for line in settings if line.strip().startswith(f"{key}:")]
        assert "our choice" in line


def test_smoke_needs_no_network_and_shows_real_and_generated_images() -> None:
    made = load("smoke")
    assert made.weights == "none"
    assert ("elpv", 60) in [(entry.name, entry.limit) for entry in made.datasets]
    assert any(entry.name.endswith("-control") for entry in made.datasets)
    assert {sum(stage.epochs for stage in run.stages) for run in expand(made)} == {3}
