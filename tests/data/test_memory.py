"""What a run holds in memory of its own: a batch, not the dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 224
SCRIPT = """
import json, sys, threading
from pathlib import Path
from benchmark.matrix import file as matrix_file
from benchmark.training import run as runs
from benchmark.training.context import RunContext, load_run_images
from benchmark.matrix.identify import identify_folders
from benchmark.matrix.expand import expand

def private():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("RssAnon")) / 1024

def read(peak, stop):
    while not stop.wait(0.02):
        peak.append(private())

folder, epochs = Path(sys.argv[1]), sys.argv[2]
overrides = ["models=[timm/test_resnet]", "weights=none", "input_modes=[rgb]", "policies=[scratch]", "seeds=[0]"]
overrides += ["training.image_size=224", "training.crop_size=32", "training.head_epochs=1"]
overrides += [f"datasets=['folder:{folder}']", f"training.epochs={epochs}"]
(spec,) = expand(identify_folders(matrix_file.load(matrix_file.find("cpu"), overrides)))
beside = folder.parent
context = RunContext(None, beside / "weights", exhibits=beside / "exhibits", keep_thumbnails="all")
load_run_images(spec, None)  # indexed and decoded, which a run does once for all
peak, stop = [private()], threading.Event()
reader = threading.Thread(target=read, args=(peak, stop), daemon=True)
reader.start()
record = runs.execute_run(spec, context).record
stop.set()
reader.join()
assert record.status == "done", record.reason
print(json.dumps(max(peak)))
"""


def folder(root: Path, images: int) -> None:
    """Write noise in two classes: half of it train, a quarter each validation and test."""
    rng = np.random.default_rng(images)
    for number in range(images):
        split = ("train", "val", "train", "test")[number // 2 % 4]
        path = root / split / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def peak_of_a_run(root: Path, epochs: int, cache: Path) -> float:
    """Return the MB that a run takes at most, the first of its process: a later one takes 20 more, of any dataset."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), str(epochs)],
        env={**os.environ, "BENCHMARK_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout))


@pytest.mark.slow
def test_a_dataset_of_150_mb_takes_no_more_private_memory_than_one_of_40(cache: Path, tmp_path: Path) -> None:
    few, many = 264, 1000  # 66 test images: a whole batch of evaluation on either side
    folder(tmp_path / "few", few)
    folder(tmp_path / "many", many)
    small = peak_of_a_run(tmp_path / "few", 4, cache)
    large = peak_of_a_run(tmp_path / "many", 1, cache)
    added = (many - few) * SIDE * SIDE * 3 / 2**20
    assert added > 100
    assert large - small < added / 5, f"{small:.0f} MB with {few} images, {large:.0f} MB with {many}"
