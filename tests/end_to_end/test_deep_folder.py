"""DICOM files of 12 bits through every command: shown, trained on, predicted and exported as their copies of 8 bits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.commands import TRAINING, Commands
from tests.data import encoders
from tests.factories import bars

pytestmark = pytest.mark.slow


def write(root: Path) -> None:
    """Write the same 12-bit images as PNG of 8 bits, as DICOM of which 0 is white, and as DICOM in Hounsfield units."""
    hounsfield = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    for label in ("lying", "standing"):
        for kind in ("usual", "negative", "hounsfield"):
            (root / kind / label).mkdir(parents=True)
        for k in range(40):
            values = np.asarray(bars(label, k).convert("L")).astype(np.uint16) * 16 + 7
            eight = ((values.astype(np.int64) * 255 + 2047) // 4095).astype(np.uint8)
            Image.fromarray(eight).save(root / "usual" / label / f"{k}.png")
            negative = encoders.dicom(4095 - values, stored=12, photometric="MONOCHROME1")
            (root / "negative" / label / f"{k}.dcm").write_bytes(negative)
            scan = encoders.dicom(values, stored=12, elements=hounsfield)
            (root / "hounsfield" / label / f"{k}.dcm").write_bytes(scan)


def test_deep_files_are_run_predicted_and_exported_as_their_copies_of_8_bits(tmp_path: Path, cache: Path) -> None:
    write(tmp_path)
    project = Commands(tmp_path, cache)
    kinds = ("usual", "negative", "hounsfield")
    matrix = project.matrix(
        datasets=[{"name": f"folder:{tmp_path / kind}"} for kind in kinds],
        input_modes=["grey-1ch"],
        seeds=[0],
        training={**TRAINING, "epochs": 3},
        keep_weights="best",
    )
    ran = project.run("run", "--matrix", matrix, "--workers", "1")
    assert ran.returncode == 0, ran.stderr
    records = {record["spec"]["dataset"]: record for record in project.records().values()}
    windows = {kind: records[kind]["spec"]["source"]["windows"] for kind in kinds}
    assert windows == {"usual": None, "negative": {"dicom": [0, 4095]}, "hounsfield": {"dicom": [-1024, 3071]}}
    found = {}
    for kind, record in records.items():
        table = pd.read_parquet(project.results() / "records" / record["predictions"]["file"])
        found[kind] = table.assign(image_id=[name.rpartition(".")[0] for name in table["image_id"]])
    for kind in kinds[1:]:
        pd.testing.assert_frame_equal(found[kind], found["usual"])
    assert found["usual"]["p0"].nunique() > 1
    run = records["negative"]["id"]
    images = [f"{kind}/lying/3.{'png' if kind == 'usual' else 'dcm'}" for kind in kinds]
    predicted = project.run("predict", "--run", run, *images, "--csv")
    assert predicted.returncode == 1
    rows = {row["path"]: row for row in csv.DictReader(predicted.stdout.splitlines())}
    assert set(rows) == {images[0], images[1]}
    assert rows[images[0]]["p(lying)"] == rows[images[1]]["p(lying)"]
    assert f"{images[2]}: " in predicted.stderr
    assert "outside of this dataset's window, 0 to 4095" in predicted.stderr
    exported = project.run("export", "--run", run, "--output", "exported")
    assert exported.returncode == 0, exported.stderr
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert config["preprocessing"]["windows"] == {"dicom": [0, 4095]}
