"""A command that is killed, or refused by the disk, at each of its changes of files: nothing is lost or half-written.

``python -m pytest -m stress`` on this file takes each change in turn, in hours; FAULT_STEP=30 takes every thirtieth.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmark.records.record import DoneRun
from benchmark.records.store import DamagedRecord, Store
from tests.commands import TINY, Commands

pytestmark = pytest.mark.stress

STEP = int(os.environ.get("FAULT_STEP", "1"))
MATRIX: dict[str, Any] = {**TINY, "input_modes": ["grey-1ch"]}
OF_THE_TIME = ("started_at", "finished_at", "timing", "memory", "environment", "seconds")


class Change(NamedTuple):
    """A call that changes a file of the results: its name and the path, relative to the results."""

    call: str
    path: str

    @property
    def phase(self) -> str:
        """The folder in the results of the matrix, or the file's own name."""
        parts = self.path.split("/")
        return parts[2] if len(parts) > 3 else "report and matrix"


class Faulty(Commands):
    """Commands in which one change of files ends the process or fails."""

    def __init__(self, folder: Path, cache: Path, library: Path) -> None:
        folder.mkdir()
        super().__init__(folder, cache)
        self._state, self._log = folder / "state", folder / "changes"
        self.environment |= {
            "FAULT_STATE": str(self._state),
            "FAULT_LOG": str(self._log),
            "FAULT_ROOT": str(folder / "results"),
            "LD_PRELOAD": str(library),
        }

    def run_with_fault(self, number: int, error: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command whose change of this number fails with ``error``, or with 0 kills its process."""
        self._state.write_bytes(struct.pack("<qqq", 0, number, error))
        self._log.unlink(missing_ok=True)
        return self.run(*arguments)

    def changes(self) -> list[Change]:
        """Return the changes of the last command, in their order."""
        lines = [line.split(" ", 3) for line in self._log.read_text().splitlines()]
        return [Change(call, path.removeprefix(f"{self.folder}/")) for _, _, call, path in sorted(lines, key=_number)]

    def done(self) -> dict[str, bytes]:
        """Return the records of done runs, as they are on disk; none may be damaged, nor its predictions."""
        store, found = Store(self.results()), {}
        for record in store.scan():
            assert not isinstance(record, DamagedRecord), record
            if isinstance(record, DoneRun):
                assert store.damaged_predictions(record) is None
                found[record.id] = store.path(record.id).read_bytes()
        return found

    def content(self) -> dict[str, object]:
        """Return what the results hold, without times; of the report, which states them, the names of its files."""
        found: dict[str, object] = {}
        for path in sorted(self.results().rglob("*")):
            name = path.relative_to(self.results()).as_posix()
            if path.suffix == ".json" and name.startswith(("records/", "floor/")):
                record = {key: value for key, value in json.loads(path.read_text()).items() if key not in OF_THE_TIME}
                for epoch in record.get("history", ()):
                    del epoch["train_seconds"]
                found[name] = record
            elif path.suffix in (".parquet", ".yaml", ".csv") and name.startswith(
                ("records/", "floor/", "exh", "g", "m")
            ):
                found[name] = path.read_bytes()
            elif path.is_file() and not name.startswith("locks/"):
                found[name] = None
        return found


def _number(line: list[str]) -> int:
    return int(line[0])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile faults.c."""
    path = tmp_path_factory.mktemp("library") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", path, source, "-ldl"], check=True)
    return path


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("fault", ["SIGKILL", "ENOSPC", "EIO", "EROFS"])
def test_at_each_change_nothing_is_lost_and_the_same_command_ends_as_if_undisturbed(
    fault: str, library: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = 0 if fault == "SIGKILL" else getattr(errno, fault)
    calm = Faulty(tmp_path / "calm", cache, library)
    run = ("run", "--matrix", calm.matrix(**MATRIX))
    assert Commands(calm.folder, cache).run(*run, "--name", "decoded").returncode == 0
    undisturbed = calm.run_with_fault(0, 0, *run)
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected, changes = calm.content(), calm.changes()
    assert len(changes) > 200
    tried: Counter[str] = Counter()
    for number in range(1, len(changes) + 1, STEP):
        commands = Faulty(tmp_path / str(number), cache, library)
        struck = commands.run_with_fault(number, error, *run)
        at = changes[number - 1]
        assert "Traceback" not in struck.stderr, (number, at, struck.stderr)
        assert error or struck.returncode != 0 or len(commands.changes()) < number, (number, at)
        before = commands.done()
        told = commands.run("status")
        assert told.returncode in (0, 1, 2), (number, at, told.stderr)
        assert "Traceback" not in told.stderr, (number, at, told.stderr)
        again = commands.run_with_fault(0, 0, *run)
        assert again.returncode == 0, (number, at, again.stderr)
        after = commands.done()
        assert {run_id: after[run_id] for run_id in before} == before, (number, at)
        assert commands.content() == expected, (number, at)
        tried[at.phase] += 1
    with capsys.disabled():
        phases = ", ".join(f"{phase} {count}" for phase, count in sorted(tried.items()))
        print(f"\n{fault}: {sum(tried.values())} of {len(changes)} changes, all as if undisturbed: {phases}")  # noqa: T201
