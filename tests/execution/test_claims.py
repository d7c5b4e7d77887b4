"""Commands that share a results folder, without processes: each run is executed by one of them, and all see its end."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmark.execution.claims import ClaimedRuns, execute_runs
from benchmark.execution.events import Event
from benchmark.execution.executor import Take
from benchmark.matrix.expand import expand
from benchmark.records.plan import make_plan
from benchmark.records.record import RunRecord, UnfinishedRun
from benchmark.records.store import Store
from benchmark.training.context import Outcome, RunContext
from tests.factories import done, matrix, predictions

MATRIX = matrix(seeds=list(range(24)))
RUNS = expand(MATRIX)
FAILING = RUNS[7].id


class Command:
    """One of them: notes what it executes and what it is told."""

    def __init__(self, folder: Path, number: int) -> None:
        self.store = Store(folder)
        self.chance = random.Random(number)
        self.executed: list[str] = []
        self.told: dict[str, bool] = {}

    def executor(
        self, take: Take, context: RunContext, timeout: float | None, on_event: Callable[[Event], None]
    ) -> Generator[Outcome, None, None]:
        while (run := take()) is not None:
            self.executed.append(run.id)
            time.sleep(self.chance.uniform(0, 0.03))
            record: RunRecord = done(run)
            if run.id == FAILING:
                kept = ("id", "spec", "started_at", "finished_at")
                fields = {key: getattr(record, key) for key in kept}
                record = UnfinishedRun(**fields, status="failed", reason="for a test")
            yield Outcome(record, predictions() if record.status == "done" else None)

    def event(self, event: Event) -> None:
        raise AssertionError("this executor tells nothing")

    def finished(self, record: RunRecord, *, elsewhere: bool = False) -> None:
        assert record.id not in self.told
        self.told[record.id] = elsewhere

    def waiting(self, runs: int) -> None:
        assert runs > 0

    def run(self) -> list[str]:
        """Return the ids of the runs that are not done."""
        context = RunContext(None, self.store.folder / "weights")
        with ClaimedRuns(self.store, make_plan(MATRIX, self.store).runs) as runs:
            return [record.id for record in execute_runs(runs, self.executor, context, None, self)]


def test_three_commands_execute_each_run_once_and_are_told_the_end_of_every_run(tmp_path: Path) -> None:
    commands = [Command(tmp_path, number) for number in range(3)]
    with ThreadPoolExecutor(3) as at_once:
        failed = list(at_once.map(Command.run, commands))
    everything = [run_id for command in commands for run_id in command.executed]
    assert sorted(everything) == sorted(run.id for run in RUNS), "each once"
    assert all(command.executed for command in commands)
    for command in commands:
        assert {run_id for run_id, elsewhere in command.told.items() if not elsewhere} == set(command.executed)
        assert command.told.keys() == {run.id for run in RUNS}
    assert failed == [[FAILING]] * 3, "each ends with the same summary"
    assert len(list((tmp_path / "records").glob("*.json"))) == 24
    assert not list((tmp_path / "locks").glob("*.lock"))


def test_a_run_that_ended_with_a_loss_that_is_no_number_is_executed_again(tmp_path: Path) -> None:
    store, record = Store(tmp_path), done(RUNS[0])
    history = (record.history[0].model_copy(update={"train_loss": math.nan}),)
    kept = {key: getattr(record, key) for key in ("id", "spec", "started_at", "finished_at")}
    store.save(UnfinishedRun(**kept, status="diverged", reason="for a test", history=history))
    with ClaimedRuns(store, make_plan(MATRIX, store).runs[:1]) as runs:
        assert runs.take() == RUNS[0]
    assert runs.finished_elsewhere() == []
