from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.records.record import DoneRun
from benchmark.records.store import Store
from benchmark.training.context import RunContext
from benchmark.training.run import execute_run
from tests import checkpoints
from tests.trained import images

MODEL = "timm/test_efficientnet"
"""ImageNet's three means and stds, which differ: `grey-1ch-folded` gets a bias."""


@dataclass(frozen=True)
class Results:
    """Every input mode's run on a folder of images, two seeds, weights kept: made once for all tests."""

    folder: Path
    images: Path
    matrix: Matrix
    cache: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def store(self) -> Store:
        return Store(self.results / self.matrix.name)

    def record(self, mode: str, seed: int = 0) -> DoneRun:
        (spec,) = [run for run in expand(self.matrix) if (run.input_mode, run.seed) == (mode, seed)]
        record = self.store.load(self.store.path(spec.id))
        assert isinstance(record, DoneRun)
        return record

    def weights(self, mode: str, seed: int = 0) -> Path:
        return self.store.folder / "weights" / f"{self.record(mode, seed).id}.safetensors"

    def command(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "BENCHMARK_CACHE_DIR": str(self.cache), "COLUMNS": "200"}
        line = [sys.executable, "-m", "benchmark", *arguments]
        return subprocess.run(line, cwd=self.folder, env=environment, capture_output=True, timeout=240, check=False)


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    folder = tmp_path_factory.mktemp("applied")
    own = images.write(folder / "my images")
    given = {
        "name": "applied",
        "models": [MODEL],
        "weights": checkpoints.write(MODEL, folder),
        "datasets": [f"folder:{own}"],
        "input_modes": list(INPUT_MODES),
        "policies": ["finetune-whole"],
        "seeds": [0, 1],
        "training": {"image_size": 40, "crop_size": 36, "batch_size": 8, "epochs": 3, "head_epochs": 1, "lr": 0.01},
        "keep_weights": "best",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHMARK_CACHE_DIR", str(folder / "cache"))
        matrix = identify_weights(identify_folders(Matrix.model_validate(given)))
        results = Results(folder, own, matrix, folder / "cache")
        context = RunContext(None, results.store.folder / "weights", keep_weights="best")
        for spec in expand(matrix):
            outcome = execute_run(spec, context)
            assert outcome.record.status == "done", outcome.record.traceback
            results.store.save(outcome.record, outcome.predictions)
        (results.store.folder / "matrix.yaml").write_text(file.dump(matrix))
        yield results
