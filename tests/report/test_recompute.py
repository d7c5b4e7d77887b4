"""Printed accuracies and differences agree with `experiments.studies.recompute`, which shares no code with them."""

from __future__ import annotations

import ast
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark.analysis import frames
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import groups_file
from benchmark.records.floor import FloorStore, floor_specs
from benchmark.records.store import Store
from benchmark.report import build
from experiments.studies import recompute
from tests import factories

FOLDER = {"name": "folder:/a/parts", "content": "0" * 64, "colour": True, "folds": True}
MATRIX = factories.grid(datasets=["beans", "rps", FOLDER], seeds=[0, 1, 2, 3, 4], input_modes=["grey-3ch", "grey-1ch"])
IMAGES = 120


def runs_of(spec: RunSpec) -> tuple[np.ndarray, dict[str, Any], int]:
    """Return correctness, changes of the record, and the number of the run's first image."""
    random = np.random.default_rng([3, *spec.id.encode()])
    shared = np.random.default_rng([1, *spec.dataset.encode()]).normal(size=600).repeat(2)
    folds = 5 if spec.source.is_folder else None
    first = IMAGES * (spec.seed % folds) if folds else 0
    effect = {"finetune": 1.9, "finetune-whole": 1.6}.get(spec.policy, 0.9) + random.normal() * 0.2
    margin = effect + shared[first : first + IMAGES] + random.normal(size=IMAGES)
    changes = {"dataset": {"fingerprint": str(len(spec.dataset)) * 16, "folds": folds}}
    return (margin > 0).astype(np.int64), changes, first


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of grouped sets, of which one is tested by folds, with their report but for its figures."""
    store = Store(tmp_path_factory.mktemp("results") / MATRIX.name)
    groups: dict[str, dict[str, str]] = {}
    for spec in expand(MATRIX):
        correct, changes, first = runs_of(spec)
        record, table = factories.record_of(spec, correct, **changes)
        number = [int(name[5:9]) for name in table.image_id]
        ids = tuple(f"test/{first + n:04d}.png" for n in number)
        store.save(record, replace(table, image_id=ids))
        size = {"beans": 4, "rps": 6}.get(spec.dataset, 2)
        own = groups.setdefault(record.dataset.fingerprint, {})
        for name, n in zip(ids, number, strict=True):  # of rps and the folder, groups lie within a class
            own[name] = f"{(first + n) // size}" if spec.dataset == "beans" else f"{first + n % 3} {n // 3 // size}"
    for of_floor in floor_specs(expand(MATRIX)):
        accuracy = 0.7 if of_floor.method == "1-nn" else 0.4
        fingerprint = str(len(of_floor.dataset)) * 16
        row = factories.floor_row(of_floor, accuracy, accuracy, test_images=IMAGES, fingerprint=fingerprint)
        table, first = factories.floor_predictions(row), IMAGES * (of_floor.fold or 0)
        ids = tuple(f"test/{first + int(name[5:9]):04d}.png" for name in table.image_id)
        FloorStore(store.folder).save(row, replace(table, image_id=ids))
    groups_file.add(store.folder, groups)
    results = factories.results_of(MATRIX, store)
    for name, content in build.texts_and_pictures(results)[0].items():
        (store.folder / name).write_bytes(content)
    (store.folder / build.RUNS).write_bytes(build.encode_runs(frames.runs(results.plan)))
    described = {"datasets": ["beans", "rps", FOLDER], "equivalence_margin": MATRIX.equivalence_margin}
    (store.folder / "matrix.yaml").write_text(yaml.safe_dump(described))
    return store.folder


@pytest.mark.slow
def test_results_with_groups_and_folds_agree_to_the_printed_digit(made: Path) -> None:
    assert list(recompute.disagreements(made)) == []
    text = (made / "differences.csv").read_text()
    assert all(word in text for word in ("mean of 3 datasets", ",folds,", ",seeds and images,"))
    assert text.count(",best floor row (1-nn),") == 3 * 2 * 2


def test_the_committed_results_agree_to_the_printed_digit() -> None:
    for matrix in sorted(Path("results").glob("*/matrix.yaml")):
        assert list(recompute.disagreements(matrix.parent)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "column"), [("table.csv", "high_95"), ("differences.csv", "half_width_95")])
def test_a_last_digit_that_is_wrong_is_named(made: Path, tmp_path: Path, name: str, column: str) -> None:
    changed = Path(shutil.copytree(made, tmp_path / "changed"))
    head, *rows = (changed / name).read_text().splitlines()
    cells = rows[3].split(",")
    where = head.split(",").index(column)
    cells[where] = f"{float(cells[where]) + 1e-5:.5f}"
    rows[3] = ",".join(cells)
    (changed / name).write_text("\n".join([head, *rows]) + "\n")
    (only,) = recompute.disagreements(changed)
    assert name in only
    assert column in only
    with pytest.raises(SystemExit):
        recompute.main([str(changed)])


def test_it_imports_nothing_of_the_package() -> None:
    tree = ast.parse(Path(recompute.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.startswith("benchmark")]
