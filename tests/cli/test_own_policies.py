"""A policy defined in YAML from stages, run from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import TRAINING, Commands

THAW = {
    "pretrained": True,
    "summary": "the head, the later half, everything",
    "stages": [
        {"trainable": "head", "share": 0.25, "batch_norm": "eval", "optimizer": {"sgd": {"momentum": 0.9}}},
        {
            "trainable": "later-half",
            "epochs": 2,
            "lr_factor": 0.5,
            "batch_norm": "eval-where-frozen",
            "scheduler": {"step": {"size": 1, "gamma": 0.1}},
        },
        {"trainable": "all", "lr_factor": 0.1, "optimizer": "adam", "scheduler": "constant"},
    ],
}


@pytest.mark.slow
def test_a_policy_of_three_stages_runs_as_it_is_written(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    matrix = project.matrix(
        policies=["thaw"],
        own_policies={"thaw": THAW},
        input_modes=["grey-1ch"],
        seeds=[0],
        training={**TRAINING, "epochs": 4, "lr": 0.002},
    )
    done = project.run("run", "--matrix", matrix)
    assert done.returncode == 0, done.stderr
    assert "thaw" in done.stdout
    (record,) = project.records().values()
    history = record["history"]
    assert [(epoch["stage"], epoch["lr"]) for epoch in history] == [
        (1, None),
        (1, pytest.approx(0.002)),
        (2, pytest.approx(0.001)),
        (2, pytest.approx(0.0001)),
        (3, pytest.approx(0.0002)),
    ]
    stages = record["model"]["stages"]
    assert [(s["trainable"], s["batch_norm"]) for s in stages] == [
        ("head", "eval"),
        ("later-half", "eval-where-frozen"),
        ("all", "train"),
    ]
    head, later, all_runs = (stage["trainable_parameters"] for stage in stages)
    assert 0 < head < later < all_runs == record["model"]["parameters"]
    assert [s["optimizer"] for s in record["spec"]["stages"]] == [{"sgd": {"momentum": 0.9}}, "adamw", "adam"]
