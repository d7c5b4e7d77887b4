"""The table of a matrix's keys: written from the schema, and right in what it says of a run's id."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")

BASE: dict[str, Any] = {
    "name": "a",
    "models": ["timm/resnet18"],
    "datasets": ["beans"],
    "input_modes": ["rgb", "grey-1ch"],
    "policies": ["finetune", "scratch"],
    "seeds": [0],
}
OTHER: dict[str, Any] = {
    "name": "b",
    "models": ["timm/resnet34"],
    "weights": "none",
    "datasets": [{"name": "beans", "limit": 20}],
    "input_modes": ["grey-3ch"],
    "policies": ["bn-only"],
    "exclude": [{"policy": "scratch"}],
    "seeds": [1],
    "split_seed": 1,
    "evaluation": "folds",
    "on_bad_image": "drop",
    "threads": 2,
    "timeout": 9.0,
    "keep_weights": "all",
    "keep_thumbnails": "none",
    "equivalence_margin": 2.0,
    "preregistered": "0" * 64,
}
"""Another value of each key that can change alone."""
NOT_ALONE = {"colormap", "own_policies", "tune_seeds", "on_leak", "training"}

OTHER_TRAINING: dict[str, Any] = {
    "image_size": 64,
    "crop_size": 64,
    "batch_size": 16,
    "epochs": 3,
    "head_epochs": 3,
    "optimizer": "adam",
    "lr": 0.1,
    "policy_lr": {"scratch": 0.1},
    "weight_decay": 0.1,
    "scheduler": "constant",
    "head_init": "xavier",
    "augment": [],
    "early_stopping": None,
    "choose_by": "loss",
    "precision": "fp16",
}


def ids(**changed: Any) -> set[str]:
    return {run.id for run in expand(Matrix.model_validate({**BASE, **changed}))}


def is_said_to_decide(block: type[BaseModel], key: str) -> bool:
    heading = {Matrix: "The file", TrainingSettings: "Training"}[block]
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| `{key}` |")]
    return "Not part of the id" not in row


def test_the_page_is_the_one_that_the_schema_gives() -> None:
    done = subprocess.run([sys.executable, "docs/write_keys.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_key_is_changed_here() -> None:
    assert set(OTHER) | NOT_ALONE == set(Matrix.model_fields)
    assert set(OTHER_TRAINING) == set(TrainingSettings.model_fields)


@pytest.mark.parametrize("key", OTHER)
def test_a_key_of_the_file_enters_the_ids_where_the_page_does_not_deny_it(key: str) -> None:
    new = ids(**{key: OTHER[key]}) - ids()
    assert bool(new) == is_said_to_decide(Matrix, key)


@pytest.mark.parametrize("key", OTHER_TRAINING)
def test_a_key_of_training_enters_the_ids(key: str) -> None:
    assert ids(training={key: OTHER_TRAINING[key]}) - ids()
    assert is_said_to_decide(TrainingSettings, key)
