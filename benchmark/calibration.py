"""Paces measured on this machine by ``doctor``, kept in the cache folder for ``plan`` and ``status``. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter, ValidationError

from benchmark import environment
from benchmark.datasets.locations import cache_directory
from benchmark.datasets.source import DatasetSource
from benchmark.files import write_atomically
from benchmark.forecast import Hardware, ImageCount, Pace, Way, way
from benchmark.matrix import RunSpec


@dataclass(frozen=True)
class Calibration:
    """What was measured on one machine with one set of libraries.

    Attributes:
        hardware: that it was measured on.
        workers: runs that shared the machine while it was measured, as they will.
        paces: each way of training with its pace.
        images: counts of datasets, for a forecast of folders that no record knows.
    """

    hardware: Hardware
    workers: int
    paces: tuple[tuple[Way, Pace], ...] = ()
    images: tuple[tuple[DatasetSource, ImageCount], ...] = ()


_FILE = TypeAdapter(Calibration)


def path() -> Path:
    """Return where this machine's calibration is kept: named by the processor and the libraries' versions."""
    key = json.dumps([environment.cpu_name(), environment.package_versions()], sort_keys=True)
    return cache_directory() / "calibration" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def read() -> Calibration | None:
    """Return this machine's calibration; None where there is none, or a damaged one."""
    try:
        return _FILE.validate_json(path().read_bytes())
    except (OSError, ValidationError):
        return None


def keep(new: Calibration) -> Calibration:
    """Add measurements to those kept of the same hardware, newer ones in place of older, and write them.

    Raises:
        UserError: the cache folder cannot be written.
    """
    old = read()
    if old is not None and old.hardware == new.hardware:
        paces = tuple({**dict(old.paces), **dict(new.paces)}.items())
        new = replace(new, paces=paces, images=tuple({**dict(old.images), **dict(new.images)}.items()))
    write_atomically(path(), _FILE.dump_json(new, indent=1))
    return new


def ways(specs: Sequence[RunSpec], hardware: Hardware) -> dict[Way, RunSpec]:
    """Return the distinct ways in which some runs train, with one of the runs for each."""
    return {way(spec, hardware): spec for spec in specs}


def measure(specs: Sequence[RunSpec], workers: int) -> tuple[list[Pace | str], bool]:
    """Train each run for a moment on noise, in as many processes at a time as runs will share the machine.

    Args:
        specs: one run a way.
        workers: processes.

    Returns:
        For each, the median pace of the processes, in words what went wrong where one failed; and whether other work
        held the processors up meanwhile.
    """
    command = [sys.executable, "-m", "benchmark.calibrating"]
    variables = {**os.environ, **environment.worker_variables()}
    given = json.dumps([spec.model_dump(mode="json") for spec in specs])
    processes = [
        subprocess.Popen(command, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(given)
            process.stdin.close()
        answers = [_answers(process, len(specs)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    contended = any(answer.get("contended") for of_process in answers for answer in of_process)
    return [_joined(of_one) for of_one in zip(*answers, strict=True)], contended


def _answers(process: subprocess.Popen[str], count: int) -> list[Mapping[str, object]]:
    assert process.stdout is not None
    lines = [json.loads(line) for line in process.stdout if line.startswith("{")]
    return [*lines, *({"error": "the process ended"} for _ in range(count - len(lines)))]


def _joined(answers: Sequence[Mapping[str, object]]) -> Pace | str:
    wrong = [str(answer["error"]) for answer in answers if "error" in answer]
    if wrong:
        return wrong[0]
    paces = [TypeAdapter(Pace).validate_python(answer["pace"]) for answer in answers]
    return Pace(
        train=tuple(median(stage) for stage in zip(*(pace.train for pace in paces), strict=True)),
        evaluate=median(pace.evaluate for pace in paces),
        fixed=median(pace.fixed for pace in paces),
    )
