from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.trained.export import export
from benchmark.trained.restore import open_run
from tests.factories import TrainedRuns

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FOREIGN = """
import json, os, sys
sys.path.insert(0, "")  # each folder has the same pixels.py, and where it has one the same derived.py
sys.modules["benchmark"] = None
with open(sys.argv[1], encoding="utf-8") as given:
    folders = json.load(given)
answers = []
for folder in folders:
    os.chdir(folder["path"])
    names = {}
    exec(folder["opened"], names)
    answers.append([])
    for names["PATH"] in folder["images"]:
        exec(folder["pytorch"], names)
        by_pytorch = names["logits"].numpy()[0].tolist()
        exec(folder["onnx"], names)
        answers[-1].append([by_pytorch, names["logits"][0].tolist()])
print("ANSWERS", json.dumps(answers))
"""


def as_their_readmes_say(folders: list[Path], images: list[str], given: Path) -> list[np.ndarray]:
    """Run the READMEs' code, each with names of its own, in one process that cannot import `benchmark`.

    Returns:
        For each folder the logits, (images, [PyTorch, ONNX], classes).
    """
    code = []
    for folder in folders:
        blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
        load, prepare, with_pytorch, with_onnx = blocks
        assert len(load.splitlines()) <= 10
        opened = f"{load}\n{prepare}"
        parts = {"path": str(folder), "images": images, "opened": opened, "pytorch": with_pytorch, "onnx": with_onnx}
        code.append(parts)
    given.write_text(json.dumps(code), encoding="utf-8")
    command = [sys.executable, "-I", "-c", FOREIGN, str(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    return [np.array(answers) for answers in json.loads(line.removeprefix("ANSWERS "))]


def test_exported_folders_answer_as_their_runs_by_their_readmes_alone(applied: TrainedRuns, tmp_path: Path) -> None:
    modes = ["rgb", "grey-3ch", "grey-1ch", "grey-1ch-folded", "colormap", "views"]
    listed = [applied.store.predictions(applied.record(mode)).to_frame()["image_id"].tolist() for mode in modes]
    assert listed == [listed[0]] * len(modes)
    paths = [applied.images / name for name in listed[0]]
    paths += sorted((applied.images / "lying").iterdir())[:6]  # of every kind
    expected = []
    for mode in modes:
        run = open_run(applied.record(mode), applied.weights(mode), CPU)
        expected.append(run.logits(np.stack([run.decode(path.read_bytes()).pixels for path in paths])).numpy())
        assert export(run, tmp_path / mode) <= 1e-4
        assert np.ptp(expected[-1][:, 0]) > 0.1, "the images must differ in their answers, or nothing is compared"
        settings = json.loads((tmp_path / mode / "config.json").read_text(encoding="utf-8"))
        assert bool(settings["changed_tensors"]) == (mode == "grey-1ch-folded")
        properties = onnx.load(tmp_path / mode / "model.onnx").metadata_props
        stated = {prop.key: json.loads(prop.value) for prop in properties}
        assert stated["preprocessing"] == settings["preprocessing"]
        assert stated["preprocessing"]["mode"] == ("L" if INPUT_MODES[mode].grey else "RGB")
    folders = [tmp_path / mode for mode in modes]
    answered = as_their_readmes_say(folders, [str(path) for path in paths], tmp_path / "folders.json")
    for mode, answers, own in zip(modes, answered, expected, strict=True):
        np.testing.assert_allclose(answers[:, 0], own, atol=1e-4, err_msg=mode)
        np.testing.assert_allclose(answers[:, 1], own, atol=1e-4, err_msg=mode)


def test_a_folder_with_something_else_and_a_network_that_onnx_gets_wrong_are_refused(
    applied: TrainedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(applied.record("rgb"), applied.weights("rgb"), CPU)
    (tmp_path / "kept.txt").touch()
    with pytest.raises(UserError, match="already contains other files"):
        export(run, tmp_path)
    monkeypatch.setattr("benchmark.trained.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match="onnxruntime's logits differ"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("benchmark.trained.export.NEEDED", ("onnx", "a_package_that_is_not_there"))
    with pytest.raises(UserError, match=r"a_package_that_is_not_there not installed.*\[export\]"):
        export(run, tmp_path / "out")
