"""The matrix `thumbs` on a folder in hymenoptera's layout, at a small size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from tests import factories
from tests.commands import Commands

SIDE = 64


@pytest.mark.slow
def test_thumbs_trains_alexnet_on_a_folder_and_its_best_checkpoint_predicts(tmp_path: Path) -> None:
    factories.write_bars(tmp_path / "bars" / "train", each=24)
    factories.write_bars(tmp_path / "bars" / "val", each=8, first=24)
    source = factories.write_pretrained("torchvision/alexnet", tmp_path)
    project = Commands(tmp_path, tmp_path / "cache")
    changes = [f'datasets=["folder:{tmp_path / "bars"}"]', f"weights={source}"]
    changes += [f"training.image_size={SIDE}", "training.epochs=1"]
    done = project.run("run", "--matrix", "thumbs", "--name", "mine", *(part for c in changes for part in ("--set", c)))
    assert done.returncode == 0, done.stderr
    (record,) = project.records("mine").values()
    assert (record["status"], record["dataset"]["classes"]) == ("done", ["lying", "standing"])
    assert record["model"]["weights_origin"] == "file torchvision-alexnet-0.safetensors"
    kept = load_file(tmp_path / "results" / "mine" / "weights" / f"{record['id']}.safetensors")
    network = torchvision.models.alexnet(weights=None, num_classes=2)
    network.load_state_dict(kept, strict=True)
    start = factories.pretrained("torchvision/alexnet")
    assert not torch.equal(kept["features.0.weight"], start["features.0.weight"])
    assert float((kept["features.0.weight"] - start["features.0.weight"]).abs().max()) < 0.1, "begun from the file"

    seen = project.run("predict", "--best", "mine", "--csv", str(tmp_path / "bars"))
    assert seen.returncode == 0, seen.stderr
    predicted = pd.read_csv(io.StringIO(seen.stdout)).set_index("path")
    assert len(predicted) == 64
    assert list(predicted.columns) == ["class", "p(lying)", "p(standing)"]
    recorded = pd.read_parquet(tmp_path / "results" / "mine" / "records" / f"{record['id']}.parquet")
    assert len(recorded) == record["dataset"]["test_images"] > 0
    own = predicted.loc[[str(tmp_path / "bars" / name) for name in recorded["image_id"]]]
    np.testing.assert_allclose(own["p(lying)"], recorded["p0"], atol=1e-6)
