from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Commands

TRAINING = {"image_size": 32, "epochs": 2, "head_epochs": 1}


@pytest.fixture
def project(tmp_path: Path) -> Commands:
    return Commands(tmp_path, tmp_path / "cache")


@pytest.mark.slow
def test_preflight_names_every_problem_with_its_line_and_trains_nothing(project: Commands) -> None:
    file = project.matrix(models=["timm/test_resnet", "timm/test_resnot"], datasets=["shape-control", "pets"])
    done = project.run("plan", "--preflight", "--matrix", file, "--data-dir", str(project.folder / "none"))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "tiny.yaml:" in line]
    assert any("tiny.yaml:2: models: " in line and "test_resnot" in line and "test_resnet" in line for line in lines)
    assert any(": datasets: " in line and "pets" in line for line in lines)
    assert "Traceback" not in done.stderr
    assert not (project.folder / "results").exists()
    again = project.run("run", "--matrix", file, "--data-dir", str(project.folder / "none"))
    assert again.returncode == 2
    assert not (project.folder / "results").exists()


@pytest.mark.slow
def test_preflight_covers_the_selected_runs_only(project: Commands) -> None:
    file = project.matrix(models=["timm/test_resnet", "timm/test_resnot"], policies=["finetune"], training=TRAINING)
    done = project.run("plan", "--preflight", "--matrix", file, "--only", "model=timm/test_resnet")
    assert done.returncode == 0, done.stderr
    assert "preflight: 4 runs to do, nothing in their way." in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "grey-1ch" in line and ", then " in line]
    assert "finetune" in row
