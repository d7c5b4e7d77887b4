"""``python -m tests.report.freeze`` makes the frozen results from scratch, if the protocol or the records have changed.

A real matrix is run, smaller than smoke; then one of its runs is made to fail, one record is made stale by an older
protocol version, one is deleted and one is cut in half. A change of the report alone needs no new runs:
``python -m benchmark report --results tests/report frozen``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.records.store import Store
from benchmark.training.context import RunContext
from benchmark.training.run import execute_run

FOLDER = Path(__file__).with_name("frozen")

OVERRIDES = (
    "datasets=[{name: elpv, limit: 60}]",
    "policies=[finetune, scratch]",
    "seeds=[0, 1, 2]",
)

FAILED, STALE, MISSING, DAMAGED = 0, 4, 7, 11
"""Positions among the runs, in cells of their own."""


def command(*words: str, exit_code: int = 0) -> None:
    """Run a verb of the benchmark, which must end so; ``report`` and ``run`` alike take the frozen folder."""
    arguments = [sys.executable, "-m", "benchmark", *words, "--results", str(FOLDER.parent)]
    code = subprocess.run(arguments, check=False, cwd=FOLDER.parents[2]).returncode
    assert code == exit_code, f"{arguments} ended with {code}"


def main() -> None:
    """Run, spoil four of the records, and write the report."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    overrides = [word for override in OVERRIDES for word in ("--set", override)]
    command(
        "run", "--matrix", "smoke", "--name", FOLDER.name, "--workers", "1", *overrides
    )  # undisturbed: it has times
    store, specs = Store(FOLDER), expand(file.load(FOLDER / "matrix.yaml"))
    os.environ["BENCHMARK_CACHE_DIR"] = os.devnull + "/cache"  # no folder: the run cannot decode its images
    outcome = execute_run(specs[FAILED], RunContext(data_dir=None, weights_folder=FOLDER))
    assert outcome.record.status == "failed", outcome.record
    store.save(outcome.record.model_copy(update={"traceback": None}))  # it names folders of this machine
    stale = store.path(specs[STALE].id)
    stale.write_text(json.dumps(json.loads(stale.read_text()) | {"protocol_version": 0}, indent=1) + "\n")
    store.path(specs[MISSING].id).unlink()
    damaged = store.path(specs[DAMAGED].id)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    for k in (FAILED, MISSING, DAMAGED):
        store.path(specs[k].id).with_suffix(".parquet").unlink()
    command("report", FOLDER.name, exit_code=1)  # a record is damaged


if __name__ == "__main__":
    main()
