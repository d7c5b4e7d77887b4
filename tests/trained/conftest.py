from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.identify import identify_folders, identify_weights
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import Matrix
from benchmark.training.context import RunContext
from benchmark.training.run import execute_run
from tests import factories

MODEL = "timm/test_efficientnet"
"""ImageNet's three means and stds, which differ: `grey-1ch-folded` gets a bias."""


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[factories.TrainedRuns]:
    folder = tmp_path_factory.mktemp("applied")
    own = factories.write_bars(folder / "my images", each=60)  # fewer validate too little to choose trained weights
    given = {
        "name": "applied",
        "models": [MODEL],
        "weights": factories.write_pretrained(MODEL, folder),
        "datasets": [f"folder:{own}"],
        "input_modes": list(INPUT_MODES),
        "policies": ["finetune-whole"],
        "seeds": [0, 1],
        "training": {"image_size": 40, "crop_size": 36, "batch_size": 8, "epochs": 4, "head_epochs": 1, "lr": 0.005},
        "keep_weights": "best",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHMARK_CACHE_DIR", str(folder / "cache"))
        matrix = identify_weights(identify_folders(Matrix.model_validate(given)))
        results = factories.TrainedRuns(folder, own, matrix, folder / "cache")
        context = RunContext(None, results.store.folder / "weights", keep_weights="best")
        for spec in expand(matrix):
            outcome = execute_run(spec, context)
            assert outcome.record.status == "done", outcome.record.traceback
            results.store.save(outcome.record, outcome.predictions)
        (results.store.folder / "matrix.yaml").write_text(file.dump(matrix))
        yield results
