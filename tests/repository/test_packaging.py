from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import benchmark

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_carries_matrices_templates_and_tables_and_finds_a_matrix_by_name(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    shipped = {f"benchmark/experiments/{path.name}" for path in (PROJECT / "experiments").glob("*.yaml")}
    assert shipped <= names
    assert "benchmark/py.typed" in names, "type checkers read the annotations of an installed package"
    assert wheel.name.split("-")[1] == benchmark.__version__
    data = {path for path in (PROJECT / "benchmark").rglob("*") if path.suffix in {".csv", ".j2", ".json"}}
    assert data
    assert {str(path.relative_to(PROJECT)) for path in data} <= names
    assert not [name for name in names if "studies" in name]
    assert not [name for name in names if name.split("/")[0] in {"tests", "results", "experiments"}]
    plan = [sys.executable, "-m", "benchmark", "plan", "--matrix", "full"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(plan, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("81 of 81 runs listed. In all: 81 pending.\n")
