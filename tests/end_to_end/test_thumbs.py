"""The matrix `thumbs` on a folder in hymenoptera's layout, at a small size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from tests import factories
from tests.commands import Commands

SIDE = 64


def write_images(folder: Path, number: int, seed: int) -> None:
    """Write ants that are darker on the left and bees that are darker on the right, in colour."""
    generator = np.random.default_rng(seed)
    for position, name in enumerate(("ants", "bees")):
        (folder / name).mkdir(parents=True)
        for image in range(number):
            pixels = generator.integers(120, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[:, position * SIDE // 2 : (position + 1) * SIDE // 2] //= 4
            Image.fromarray(pixels).save(folder / name / f"{name}-{seed}-{image}.png")


@pytest.mark.slow
def test_thumbs_trains_alexnet_on_a_folder_and_its_best_checkpoint_predicts(tmp_path: Path) -> None:
    write_images(tmp_path / "insects" / "train", 24, seed=0)
    write_images(tmp_path / "insects" / "val", 8, seed=1)
    source = factories.write_pretrained("torchvision/alexnet", tmp_path)
    project = Commands(tmp_path, tmp_path / "cache")
    changes = [f'datasets=["folder:{tmp_path / "insects"}"]', f"weights={source}"]
    changes += [f"training.image_size={SIDE}", "training.epochs=1"]
    done = project.run("run", "--matrix", "thumbs", "--name", "mine", *(part for c in changes for part in ("--set", c)))
    assert done.returncode == 0, done.stderr
    (record,) = project.records("mine").values()
    assert (record["status"], record["dataset"]["classes"]) == ("done", ["ants", "bees"])
    assert record["model"]["weights_origin"] == "file torchvision-alexnet-0.safetensors"
    kept = load_file(tmp_path / "results" / "mine" / "weights" / f"{record['id']}.safetensors")
    network = torchvision.models.alexnet(weights=None, num_classes=2)
    network.load_state_dict(kept, strict=True)
    start = factories.pretrained("torchvision/alexnet")
    assert not torch.equal(kept["features.0.weight"], start["features.0.weight"])
    assert float((kept["features.0.weight"] - start["features.0.weight"]).abs().max()) < 0.1, "begun from the file"

    seen = project.run("predict", "--best", "mine", "--csv", str(tmp_path / "insects"))
    assert seen.returncode == 0, seen.stderr
    predicted = pd.read_csv(io.StringIO(seen.stdout)).set_index("path")
    assert len(predicted) == 64
    assert list(predicted.columns) == ["class", "p(ants)", "p(bees)"]
    recorded = pd.read_parquet(tmp_path / "results" / "mine" / "records" / f"{record['id']}.parquet")
    assert len(recorded) == record["dataset"]["test_images"] > 0
    own = predicted.loc[[str(tmp_path / "insects" / name) for name in recorded["image_id"]]]
    np.testing.assert_allclose(own["p(ants)"], recorded["p0"], atol=1e-6)
