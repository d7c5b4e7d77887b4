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
from benchmark.export import export
from benchmark.export_text import loading
from benchmark.inputs import INPUT_MODES
from benchmark.trained import open_run
from tests.applying.conftest import Results

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
FOREIGN = """
import sys
sys.modules["benchmark"] = None
PATHS = {paths}
answers = []
for PATH in PATHS:
    exec(PYTORCH)
    by_pytorch = logits.numpy()[0].tolist()
    exec(ONNX)
    answers.append([by_pytorch, logits[0].tolist()])
import json
print("ANSWERS", json.dumps(answers))
"""


def as_the_readme_says(folder: Path, paths: list[str]) -> np.ndarray:
    """Run the README's code where `benchmark` cannot be imported; return logits, (images, [PyTorch, ONNX], classes)."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    load, prepare, with_pytorch, with_onnx = blocks
    code = f"{load}\n{prepare}\nPYTORCH = {with_pytorch!r}\nONNX = {with_onnx!r}\n" + FOREIGN.format(paths=paths)
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    return np.array(json.loads(line.removeprefix("ANSWERS ")))


@pytest.mark.parametrize("mode", ["rgb", "grey-3ch", "grey-1ch", "grey-1ch-folded"])
def test_an_exported_folder_answers_as_the_run_by_its_readme_alone(applied: Results, mode: str, tmp_path: Path) -> None:
    record = applied.record(mode)
    run = open_run(record, applied.weights(mode), CPU)
    paths = [applied.images / name for name in applied.store.predictions(record).to_frame()["image_id"]]
    paths += sorted((applied.images / "lying").iterdir())[:6]  # of every kind
    expected = run.logits(np.stack([run.decode(path.read_bytes()) for path in paths])).numpy()
    written = export(run, tmp_path / "out")
    assert written.difference <= 1e-4
    answers = as_the_readme_says(tmp_path / "out", [str(path) for path in paths])
    np.testing.assert_allclose(answers[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(answers[:, 1], expected, atol=1e-4)
    assert np.ptp(expected[:, 0]) > 0.1, "the images must differ in their answers, or nothing is compared"
    settings = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert bool(settings["changed_tensors"]) == (mode == "grey-1ch-folded")
    stated = {prop.key: json.loads(prop.value) for prop in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert stated["preprocessing"] == settings["preprocessing"]
    assert stated["preprocessing"]["mode"] == ("L" if INPUT_MODES[mode].grey else "RGB")
    assert len(loading(settings).splitlines()) == 10


def test_a_folder_with_something_else_and_a_network_that_onnx_gets_wrong_are_refused(
    applied: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(applied.record("rgb"), applied.weights("rgb"), CPU)
    (tmp_path / "kept.txt").touch()
    with pytest.raises(UserError, match="holds something else already"):
        export(run, tmp_path)
    monkeypatch.setattr("benchmark.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match="onnxruntime's logits differ"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("benchmark.export.NEEDED", ("onnx", "a_package_that_is_not_there"))
    with pytest.raises(UserError, match=r"a_package_that_is_not_there not installed.*\[export\]"):
        export(run, tmp_path / "out")
