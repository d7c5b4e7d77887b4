"""A run, its floor rows and its report are the same, whatever surrounds the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Commands

INSTALLED = (
    "import sys; sys.path.remove(''); sys.argv[0] = 'greyscale-benchmark'; from benchmark.cli import main; main()"
)
"""What the installed command executes: no module of the working folder is found."""

OF_TRAINING = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",  # measured: another training
    "PT_ACC_LIMIT_BATCHES": "1",  # measured: trains on one batch
    "ACCELERATE_DYNAMO_BACKEND": "inductor",  # measured: takes minutes
    "ACCELERATE_USE_DEEPSPEED": "true",  # measured: fails
}
OF_LIBRARIES = {
    "WORLD_SIZE": "2",  # measured, with the next four: waits for the other process for ever
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29555",
    "OMP_NUM_THREADS": "3",
    "OPENBLAS_NUM_THREADS": "3",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MPLBACKEND": "module://not_installed",
    "MATPLOTLIBRC": "matplotlibrc",
}
OF_PYTHON = {"PYTHONIOENCODING": "cp1252", "PYTHONWARNINGS": "error", "LC_ALL": "C", "TZ": "Asia/Kathmandu"}
OURS_TOO = ("benchmark", "random", "signal", "utils", "torch", "matplotlib", "multiprocessing")


def numbers(results: Path) -> dict[str, Any]:
    """Return what runs and floor rows measured, by id."""
    of_runs = {path: json.loads(path.read_text()) for path in results.glob("records/*.json")}
    of_floor = {path: json.loads(path.read_text()) for path in results.glob("floor/*.json")}
    epochs = {
        path.stem: [[epoch[name] for name in ("train_loss", "val_loss")] for epoch in record["history"]]
        for path, record in of_runs.items()
    }
    return epochs | {path.stem: [row["validation"], row["test"]] for path, row in of_floor.items()}


@pytest.mark.slow
def test_hostile_surroundings_change_no_number_and_no_byte_of_a_report(tmp_path: Path) -> None:
    calm = Commands(tmp_path, tmp_path / "cache")
    matrix = Path(calm.matrix(input_modes=["grey-1ch"], seeds=[0]))
    training = matrix.read_text().replace("batch_size: 32", "batch_size: 8")
    matrix.write_text(training)
    assert calm.run("run", "--matrix", str(matrix)).returncode == 0

    folder = tmp_path / "working folder"
    folder.mkdir()
    for name in OURS_TOO:
        (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} of the working folder')\n")
    (folder / "matplotlibrc").write_text("font.size: 30\naxes.grid: True\nsavefig.bbox: tight\nfigure.facecolor: red\n")
    variables = {**calm.environment, **OF_LIBRARIES, **OF_PYTHON}
    process = subprocess.Popen(
        [sys.executable, "-c", INSTALLED, "run", "--matrix", str(matrix)],
        cwd=folder,
        env={name: value for name, value in variables.items() if name != "HOME"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()  # as by `| head`
    _, printed = process.communicate(timeout=200)
    assert process.returncode == 0, printed.decode()
    assert (
        "ignored settings in the environment: LOCAL_RANK, MASTER_ADDR, MASTER_PORT, MATPLOTLIBRC, MPLBACKEND, OMP_NUM"
        in printed.decode()
    )
    assert "Traceback" not in printed.decode()

    hostile = folder / "results" / "tiny"
    assert numbers(hostile) == numbers(calm.results())
    assert len(numbers(hostile)) == 5
    checked = calm.run("report", "--check", "--results", str(hostile.parent))
    assert checked.returncode == 0, checked.stdout
    drawn = {path.name: path.read_bytes() for path in (hostile / "figures").iterdir()}
    for path in (hostile / "figures").iterdir():
        path.unlink()
    assert calm.run("report", "--results", str(hostile.parent)).returncode == 0
    assert {path.name: path.read_bytes() for path in (hostile / "figures").iterdir()} == drawn


@pytest.mark.parametrize("name", OF_TRAINING)
def test_a_variable_that_asks_for_another_training_is_refused_by_name(name: str, tmp_path: Path) -> None:
    commands = Commands(tmp_path, tmp_path / "cache")
    commands.environment[name] = OF_TRAINING[name]
    refused = commands.run("run", "--matrix", commands.matrix())
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"error: {name}: set in the environment" in refused.stderr
    assert f"env -u {name}" in refused.stderr
    assert not commands.results().exists()


@pytest.mark.slow
def test_workers_see_none_of_the_variables_even_if_a_command_does_not_refuse_them(tmp_path: Path) -> None:
    names = [*OF_TRAINING, *OF_LIBRARIES]
    code = f"""
import os
from benchmark import environment
from benchmark.execution.side_process import call_in_side_process
if __name__ == "__main__":
    environment.remove_settings()
    print([call_in_side_process(os.getenv, name) for name in {names}])
"""
    variables = {**os.environ, **OF_TRAINING, **OF_LIBRARIES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert done.stdout == f"{[None for _ in names]}\n"


def test_python_m_finds_no_module_in_the_working_folder(tmp_path: Path) -> None:
    for name in (*OURS_TOO[1:], "typer", "yaml"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} of the working folder')\n")
    command = [sys.executable, "-m", "benchmark", "status"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
